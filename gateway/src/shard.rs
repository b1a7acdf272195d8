//! The application of one shard: what the connection engine tells it goes to the file that does it.

use std::{ops::ControlFlow, sync::Arc};

use gochat_core::{
    App, CloseReason, ConnId, Cx, Frame, Mailboxes, Outcome, Priority, Request, RequestId, SendOutcome,
};
use gochat_infra::{errors::Error, mq::Producer, token::TokenKeys};
use tokio::sync::oneshot;

use crate::{
    admin::Counters,
    agenda::Agenda,
    auth::UpgradeRules,
    config::GatewayConfig,
    mail::Mail,
    presence::Presence,
    protocol::{inbound::FrameLimits, outbound},
    random::Random,
    rates::{Rates, http::HttpRates},
    recheck::Rechecks,
    revoke::set::Revocations,
    session::Session,
    side::Side,
    upstream::{pending::Pending, unfinished::Unfinished},
};

/// What all shards share, never changed.
pub(crate) struct Shared {
    pub(crate) config: GatewayConfig,
    pub(crate) frame_limits: FrameLimits,
    pub(crate) upgrade_rules: UpgradeRules,
    pub(crate) keys: TokenKeys,
    /// Random id of this run of the gateway.
    pub(crate) instance: Arc<str>,
    pub(crate) slot: u32,
    pub(crate) producer: Producer,
    pub(crate) side: Side,
    pub(crate) presence: Presence,
}

impl Shared {
    /// Enough of the instance's id to tell runs apart in a log.
    pub(crate) fn short_instance(&self) -> &str {
        self.instance.get(..8).unwrap_or(&self.instance)
    }
}

/// One shard's state.
pub(crate) struct Shard {
    pub(crate) shared: Arc<Shared>,
    pub(crate) mailboxes: Mailboxes<Mail>,
    pub(crate) pending: Pending,
    pub(crate) unfinished: Unfinished,
    pub(crate) rates: Rates,
    pub(crate) http_rates: HttpRates,
    pub(crate) agenda: Agenda,
    pub(crate) rechecks: Rechecks,
    pub(crate) revocations: Revocations,
    pub(crate) counters: Counters,
    pub(crate) random: Random,
    /// The store's, once known.
    pub(crate) epoch: Option<u64>,
    /// Connections may be taken: every shard knows the epoch and all revocations.
    pub(crate) open: bool,
    /// Requests so far, for their ids.
    pub(crate) requests: u64,
    /// Set when the gateway drains; answered when nothing is pending any more.
    pub(crate) drained: Option<oneshot::Sender<()>>,
    pub(crate) draining: bool,
}

/// The agenda is the only user of the engine's timers.
const TAG_AGENDA: u64 = 0;

impl Shard {
    pub(crate) fn new(shared: Arc<Shared>, mailboxes: Mailboxes<Mail>) -> Self {
        let config = &shared.config;
        Shard {
            pending: Pending::new(config.upstream.in_flight_per_shard_max),
            unfinished: Unfinished::new(config.upstream.unfinished_forget_ms),
            rates: Rates::new(&config.rates),
            http_rates: HttpRates::new(&config.rates),
            rechecks: Rechecks::new(
                config.requests.rechecks_per_shard_max,
                config.requests.kept_heads_per_shard_max,
            ),
            revocations: Revocations::new(config.auth.revocations_max),
            agenda: Agenda::default(),
            counters: Counters::default(),
            random: Random::seeded(),
            epoch: None,
            open: false,
            requests: 0,
            drained: None,
            draining: false,
            mailboxes,
            shared,
        }
    }

    /// Queues a frame. That a connection is gone or too slow is the engine's to count.
    pub(crate) fn queue(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, frame: &[u8]) -> ControlFlow<()> {
        match cx.send(conn, &Frame::text(frame), Priority::Keep) {
            SendOutcome::Queued => ControlFlow::Continue(()),
            SendOutcome::Dropped | SendOutcome::Closing | SendOutcome::Gone => ControlFlow::Break(()),
        }
    }

    pub(crate) fn queue_error(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        conn: ConnId,
        id: Option<&str>,
        error: &Error,
    ) {
        self.counters.frame_errors.count(error.code);
        let frame = outbound::error(id, error, cx.unix_ms());
        let _ = self.queue(cx, conn, &frame);
    }

    /// Closes a connection and counts why.
    pub(crate) fn close(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, why: &Farewell) {
        self.counters.closes.count(why.counter as usize);
        cx.close(conn, why.code, why.reason);
    }

    /// Sets the engine's timer for the earliest entry of the agenda.
    pub(crate) fn arm(&mut self, cx: &mut Cx<'_, Shard>) {
        if let Some(delay_ms) = self.agenda.arm(cx.now_ms())
            && !cx.set_timer(delay_ms, TAG_AGENDA)
        {
            // The engine has counted it; the next change of the agenda tries again.
            self.agenda.fired();
        }
    }

    /// Brings up to date what others count or keep.
    fn measure(&mut self, now_ms: u64) {
        self.counters.pending = self.pending.len() as u64;
        self.counters.unfinished_age_ms = self.unfinished.lag_ms(now_ms);
        self.counters.unfinished = self.unfinished.len() as u64;
        let [user, ip] = self.http_rates.without_room();
        self.counters.rates_without_room = [self.rates.without_room(), user, ip];
        self.counters.revocations = self.revocations.len() as u64;
    }

    fn drain(&mut self, done: oneshot::Sender<()>) {
        self.draining = true;
        self.drained = Some(done);
        self.tell_if_drained();
    }

    pub(crate) fn tell_if_drained(&mut self) {
        if self.pending.len() == 0
            && let Some(done) = self.drained.take()
        {
            let _ = done.send(());
        }
    }
}

/// Why the gateway closes a connection.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Farewell {
    pub(crate) code: u16,
    pub(crate) reason: &'static str,
    pub(crate) counter: Closed,
}

/// The gateway's own reasons, in the order of [`Closed::NAMES`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Closed {
    TokenExpired,
    TokenTooOld,
    KickedLogout,
    KickedBanned,
    KickedPasswordChanged,
    KickedTokenReused,
    Malformed,
    Abuse,
    PresenceFull,
    SessionRefused,
    RefusalsFull,
    TooManyConnections,
}

impl Closed {
    pub(crate) const NAMES: [&'static str; 12] = [
        "token_expired",
        "token_too_old",
        "kicked_logout",
        "kicked_banned",
        "kicked_password_changed",
        "kicked_token_reused",
        "malformed",
        "abuse",
        "presence_full",
        "session_refused",
        "refusals_full",
        "too_many_connections",
    ];
}

impl App for Shard {
    type Session = Session;
    type Mail = Mail;

    fn on_request(
        &mut self,
        cx: &mut Cx<'_, Self>,
        request: &Request<'_>,
        id: RequestId,
    ) -> Outcome<Session> {
        self.request(cx, request, id)
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId) {
        self.open(cx, conn);
    }

    fn on_text(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, text: &str) {
        self.frame(cx, conn, text);
    }

    fn on_close(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, _: u64, session: Session, _: CloseReason) {
        self.closed(cx, conn, &session);
    }

    fn on_room(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId) {
        self.tell_gaps(cx, conn);
    }

    fn on_mail(&mut self, cx: &mut Cx<'_, Self>, mail: Mail) {
        match mail {
            Mail::Confirmed { ticket, kept } => self.confirmed(cx, ticket, kept),
            Mail::Downstream(items) => self.deliver(cx, items),
            Mail::Respond { id, response } => {
                if response.status >= 500 {
                    self.counters.answers_5xx += 1;
                }
                // A client that has gone is counted by the engine.
                let _ = cx.respond(id, response);
            }
            Mail::Answered { conn, answer } => self.answered(cx, conn, answer),
            Mail::Bound { conn } => self.bound(cx, conn),
            Mail::NotBound { conn } => self.not_bound(cx, conn),
            Mail::Rechecked { conn, user_id, changed } => {
                self.rechecked(cx, conn, user_id, changed.as_deref())
            }
            Mail::Epoch(epoch, noted) => {
                self.epoch = self.epoch.max(Some(epoch));
                let _ = noted.send(());
            }
            Mail::Revoked(revocations, taken) => {
                self.revoked(cx, &revocations);
                let _ = taken.send(());
            }
            Mail::Open(done) => {
                self.open = true;
                let _ = done.send(());
            }
            Mail::Sample(to) => {
                self.measure(cx.now_ms());
                let _ = to.send(self.counters.clone());
            }
            Mail::Alive(to) => {
                let _ = to.send(());
            }
            Mail::Drain(done) => self.drain(done),
        }
    }

    fn on_timer(&mut self, cx: &mut Cx<'_, Self>, _: u64) {
        self.look_after(cx);
    }
}
