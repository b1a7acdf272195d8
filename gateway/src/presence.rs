//! Who is connected, told to logic: connects, ends and signs of life, in the order in which they happened.

use std::{sync::Arc, time::Duration};

use gochat_core::{ConnId, Mailboxes};
use gochat_infra::errors::Error;
use gochat_proto::{
    common::v1,
    logic::v1::ReportSessionsRequest,
    repo::v1::{SessionChange, session_change::Kind},
};
use tokio::sync::{mpsc, oneshot};

use crate::{
    admin::{Depth, SideCounters},
    config::PresenceConfig,
    mail::Mail,
    side::Clients,
    time::unix_ms,
};

/// One report.
#[derive(Debug, Clone)]
pub(crate) struct Report {
    pub(crate) kind: Kind,
    pub(crate) user_id: u64,
    pub(crate) device_id: Box<str>,
    pub(crate) conn: ConnId,
}

enum Entry {
    Report(Report),
    /// Everything before it has been written when this is answered.
    Flush(oneshot::Sender<()>),
}

/// The shards' way to the reporter.
#[derive(Clone)]
pub(crate) struct Presence {
    entries: mpsc::Sender<Entry>,
}

/// The reporter does not keep up.
#[derive(Debug)]
pub(crate) struct PresenceFull;

/// The receiving end, until the shards exist.
pub(crate) struct Reporter {
    entries: mpsc::Receiver<Entry>,
    config: PresenceConfig,
    instance: Arc<str>,
    slot: u32,
}

impl Presence {
    pub(crate) fn new(config: &PresenceConfig, instance: Arc<str>, slot: u32) -> (Presence, Reporter) {
        let (sender, entries) = mpsc::channel(config.queue_max);
        (Presence { entries: sender }, Reporter { entries, config: config.clone(), instance, slot })
    }

    /// How many reports wait, for whoever asks; it does not keep the reporter alive.
    pub(crate) fn depth(&self) -> Depth {
        let entries = self.entries.downgrade();
        Depth::new("presence", move || {
            entries.upgrade().map_or(0, |entries| entries.max_capacity() - entries.capacity())
        })
    }

    /// Never waits.
    pub(crate) fn report(&self, report: Report) -> Result<(), PresenceFull> {
        self.entries.try_send(Entry::Report(report)).map_err(|_| PresenceFull)
    }

    /// Waits until all that was reported before is written.
    pub(crate) async fn flush(&self) {
        let (done, written) = oneshot::channel();
        if self.entries.send(Entry::Flush(done)).await.is_ok() {
            let _ = written.await;
        }
    }
}

impl Reporter {
    /// Works until the last [`Presence`] is gone. One call at a time keeps the order.
    pub(crate) async fn run(
        mut self,
        clients: Clients,
        mailboxes: Mailboxes<Mail>,
        counters: Arc<SideCounters>,
    ) {
        let mut taken = Vec::with_capacity(self.config.batch_max);
        while self.entries.recv_many(&mut taken, self.config.batch_max).await > 0 {
            let mut flushes = Vec::new();
            let mut reports = Vec::with_capacity(taken.len());
            for entry in taken.drain(..) {
                match entry {
                    Entry::Report(report) => reports.push(report),
                    Entry::Flush(done) => flushes.push(done),
                }
            }
            if !reports.is_empty() {
                let written = self.write(&reports, &clients, &counters).await;
                tell_shards(&reports, written, &mailboxes);
            }
            for done in flushes {
                let _ = done.send(());
            }
        }
    }

    /// Tries until it works. False when logic refuses the batch for good, which is a fault of ours or its.
    async fn write(&self, reports: &[Report], clients: &Clients, counters: &SideCounters) -> bool {
        let mut pause_ms = self.config.retry_min_ms;
        loop {
            let changes = self.changes(reports);
            let outcome = clients.sessions.clone().report_sessions(ReportSessionsRequest { changes }).await;
            let Err(status) = outcome else { return true };
            let error = Error::from(status);
            counters.session_report_failures.inc();
            let lasting = !error.code.is_transient() && error.code != gochat_infra::errors::Code::Internal;
            if lasting {
                tracing::error!(%error, reports = reports.len(), "session reports refused");
                return false;
            }
            tracing::warn!(%error, reports = reports.len(), pause_ms, "session reports failed, trying again");
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            pause_ms = (pause_ms * 2).min(self.config.retry_max_ms);
        }
    }

    fn changes(&self, reports: &[Report]) -> Vec<SessionChange> {
        let now_ms = unix_ms();
        let expires_at_ms = now_ms + i64::try_from(self.config.ttl_ms).unwrap_or(i64::MAX / 2);
        let change = |report: &Report| SessionChange {
            kind: report.kind.into(),
            session: Some(v1::Session {
                user_id: report.user_id,
                device_id: report.device_id.clone().into(),
                gateway_instance: self.instance.to_string(),
                gateway_slot: self.slot,
                connection_id: report.conn.to_u64(),
                login_at_ms: now_ms,
                last_seen_ms: now_ms,
                expires_at_ms,
            }),
        };
        reports.iter().map(change).collect()
    }
}

/// Only connects are waited for.
fn tell_shards(reports: &[Report], written: bool, mailboxes: &Mailboxes<Mail>) {
    for report in reports.iter().filter(|report| report.kind == Kind::Set) {
        let conn = report.conn;
        let mail = if written { Mail::Bound { conn } } else { Mail::NotBound { conn } };
        mailboxes.home(report.user_id).post_reserved(mail);
    }
}
