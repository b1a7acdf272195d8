//! Hears of revocations on the side: all of them at the start, then each by its event, and by asking now and then,
//! since an event may be lost.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gochat_core::Mailboxes;
use gochat_infra::{
    errors::Error,
    mq::{Queue, QueueError, Record, Tail, TailEvent},
};
use gochat_proto::{
    logic::v1::revocation_service_client::RevocationServiceClient, queue::v1::UserEvent,
    repo::v1::ListRevocationsRequest, topics,
};
use prost::Message as _;
use tokio::{
    sync::{mpsc, watch},
    task::JoinSet,
    time::sleep,
};

use super::set::Revocation;
use crate::{
    admin::SideCounters, config::AuthConfig, gateway::ask_all, mail::Mail, side::Clients, time::unix_ms,
};

/// Batches of events that wait while a page is asked for; behind them they wait in the topic.
const EVENTS_WAITING_MAX: usize = 16;

/// How far the first load has come.
#[derive(Debug, Clone)]
pub(crate) enum Loading {
    /// Under way; what went wrong last, if something did.
    Waits(Option<String>),
    Done,
}

/// What follows revocations.
pub(crate) struct Follower {
    pub(crate) tails: Vec<Tail>,
    pub(crate) clients: Clients,
    pub(crate) mailboxes: Mailboxes<Mail>,
    pub(crate) config: AuthConfig,
    pub(crate) counters: Arc<SideCounters>,
    pub(crate) loading: watch::Sender<Loading>,
}

/// The ends of the topic as it is now: to be taken before the first load, so that nothing falls between them.
pub(crate) fn tails(queue: &Queue) -> Result<Vec<Tail>, QueueError> {
    let partitions = queue.partitions(topics::EVENTS_USER).unwrap_or(1);
    (0..partitions).map(|partition| queue.tail(topics::EVENTS_USER, partition)).collect()
}

impl Follower {
    /// Until it is dropped.
    pub(crate) async fn run(mut self) {
        let (events, mut arrived) = mpsc::channel(EVENTS_WAITING_MAX);
        let mut readers = JoinSet::new();
        for tail in self.tails.drain(..) {
            readers.spawn(forward(tail, events.clone()));
        }
        let poll = Duration::from_millis(self.config.revocations_poll_ms);
        let retry = Duration::from_millis(self.config.revocations_retry_ms);
        let (mut highest, mut next) = (0, Instant::now());
        loop {
            let event = tokio::select! {
                Some(event) = arrived.recv() => Some(event),
                () = sleep(next.saturating_duration_since(Instant::now())) => None,
            };
            match event {
                Some(TailEvent::Records(records)) => self.events(&records).await,
                Some(TailEvent::Lost(lost)) => {
                    tracing::warn!(lost, "events of users lost, asking for all revocations again");
                    self.counters.events_lost.inc_by(lost);
                    (highest, next) = (0, Instant::now());
                }
                None => {
                    let outcome = self.load(&mut highest).await;
                    next = Instant::now() + if outcome.is_ok() { poll } else { retry };
                    self.note(outcome);
                }
            }
        }
    }

    fn note(&self, outcome: Result<(), Error>) {
        let failure = outcome.err().map(|error| {
            self.counters.revocation_load_failures.inc();
            tracing::warn!(%error, "revocations could not be asked for, trying again");
            error.to_string()
        });
        self.loading.send_if_modified(|loading| match (&loading, failure) {
            (Loading::Done, _) => false,
            (Loading::Waits(_), None) => {
                *loading = Loading::Done;
                true
            }
            (Loading::Waits(_), failure) => {
                *loading = Loading::Waits(failure);
                true
            }
        });
    }

    /// Asks for all above `highest`, page by page, and raises it by what the shards have taken.
    async fn load(&self, highest: &mut u64) -> Result<(), Error> {
        let mut service: RevocationServiceClient<_> = self.clients.revocations.clone();
        loop {
            let request = ListRevocationsRequest {
                after_revocation_id: *highest,
                now_ms: unix_ms(),
                limit: self.config.revocations_page_max,
            };
            let page = service.list_revocations(request).await?.into_inner();
            let last = page.revocations.iter().map(|row| row.revocation_id).max();
            self.tell(page.revocations.into_iter().map(Revocation::from).collect()).await;
            let Some(last) = last else { return Ok(()) };
            *highest = last.max(*highest);
            if !page.has_more {
                return Ok(());
            }
        }
    }

    async fn events(&self, records: &[Record]) {
        let mut revocations = Vec::new();
        for record in records {
            match UserEvent::decode(record.value.clone()) {
                Ok(event) => revocations.extend(Revocation::of_event(event)),
                Err(_) => {
                    self.counters.events_unreadable.inc();
                }
            }
        }
        self.tell(revocations).await;
    }

    /// Waits until every shard has taken them: one batch of them is out at a time.
    async fn tell(&self, revocations: Vec<Revocation>) {
        if revocations.is_empty() {
            return;
        }
        let revocations: Arc<[Revocation]> = revocations.into();
        ask_all(&self.mailboxes, |taken| Mail::Revoked(Arc::clone(&revocations), taken)).await;
    }
}

async fn forward(mut tail: Tail, events: mpsc::Sender<TailEvent>) {
    while events.send(tail.next().await).await.is_ok() {}
}
