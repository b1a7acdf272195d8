//! The life of a connection on its home shard: opened, bound, looked after, closed.

use gochat_core::{ConnId, Cx};
use gochat_proto::{common::v1::Head, repo::v1::session_change::Kind};

use crate::{
    frames::heads_bytes,
    mail::Mail,
    presence::Report,
    protocol::outbound::{self, Hello},
    revoke::kick::CLOSE_TOKEN,
    routes::Lane,
    session::Session,
    shard::{Closed, Farewell, Shard},
    side::calls,
};

/// Connections looked after in one turn of the shard; the rest follow in the next.
const LOOKS_A_TURN: usize = 512;
/// When a second comparison that found no room is tried again.
const RECHECK_AGAIN_MS: u64 = 1_000;

const TOKEN_EXPIRED: Farewell =
    Farewell { code: CLOSE_TOKEN, reason: "the access token has expired", counter: Closed::TokenExpired };
const PRESENCE_FULL: Farewell =
    Farewell { code: 1013, reason: "too many connects now, try again", counter: Closed::PresenceFull };
/// Its own code, since whoever reconnects by itself would only put out the next.
const TOO_MANY: Farewell = Farewell {
    code: 4429,
    reason: "too many connections of this user: a newer one took the place of this one",
    counter: Closed::TooManyConnections,
};
const SESSION_REFUSED: Farewell =
    Farewell { code: 1013, reason: "the session could not be written", counter: Closed::SessionRefused };

impl Shard {
    /// Says hello and reports the session. The client may have sent `heads` already.
    pub(crate) fn open(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        self.counters.opened += 1;
        if !self.may_stay(cx, conn) {
            return;
        }
        self.make_room(cx, conn);
        let now_ms = cx.now_ms();
        let refresh_ms = now_ms + self.random.jittered(self.shared.config.presence.refresh_ms);
        let (unix_ms, shard) = (cx.unix_ms(), cx.shard());
        let Some(session) = cx.session(conn) else { return };
        session.refresh_ms = refresh_ms;
        let config = &self.shared.config;
        let session_id = format!("{}-{shard:x}-{:x}", self.shared.short_instance(), conn.to_u64());
        let hello = outbound::hello(
            &Hello {
                session_id: &session_id,
                user_id: session.user_id,
                device_id: &session.device_id,
                heartbeat_ms: config.edge.ping_interval_ms,
                heads_interval_ms: config.requests.heads_interval_ms,
                max_message_bytes: config.upstream.content_max_bytes,
                epoch: self.epoch.unwrap_or(0),
            },
            unix_ms,
        );
        let report = report(Kind::Set, session, conn);
        let _ = self.queue(cx, conn, &hello);
        self.schedule(cx, conn);
        if self.shared.presence.report(report).is_err() {
            self.close(cx, conn, &PRESENCE_FULL);
        }
    }

    /// Closes another connection of the user when they are too many. The newest one is never refused: on a bad network
    /// the old ones are half-open, and a phone must not wait until they are found dead. A device that reconnects
    /// takes its own old place, not another device's.
    fn make_room(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        let Some(user_id) = cx.key_of(conn) else { return };
        let mut others = cx.conns_of(user_id);
        others.retain(|other| *other != conn);
        if others.len() < self.shared.config.auth.connections_per_user_max {
            return;
        }
        let Some(device_id) = cx.session(conn).map(|session| session.device_id.clone()) else { return };
        let silent_longest = others.into_iter().min_by_key(|other| {
            let elsewhere = cx.session(*other).is_none_or(|session| session.device_id != device_id);
            (elsewhere, cx.heard_ms(*other))
        });
        if let Some(silent) = silent_longest {
            self.close(cx, silent, &TOO_MANY);
        }
    }

    /// The session is written: heads that are read from now on miss nothing that a router knows of.
    pub(crate) fn bound(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        let now_ms = cx.now_ms();
        let Some(session) = cx.session(conn) else { return };
        session.bound_ms = Some(now_ms);
        if let Some(early) = session.early_heads.take() {
            self.rechecks.give_room(early.known.len());
            self.ask_heads(cx, conn, *early);
        }
    }

    pub(crate) fn not_bound(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        self.close(cx, conn, &SESSION_REFUSED);
    }

    /// Forgets a connection and reports its end. A device has one session, whoever connected last, but may have several
    /// connections (a duplicated tab): as long as one is left, the session becomes its.
    pub(crate) fn closed(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, session: &Session) {
        self.counters.closed += 1;
        self.agenda.remove(conn, session.due_ms);
        self.rechecks.forget(session.user_id, conn);
        if let Some(early) = &session.early_heads {
            self.rechecks.give_room(early.known.len());
        }
        let device_id = &session.device_id;
        let mut others = cx.conns_of(session.user_id).into_iter();
        let left = others.find(|other| cx.session(*other).is_some_and(|one| one.device_id == *device_id));
        let report = match left {
            Some(left) => report(Kind::Set, session, left),
            None => report(Kind::Delete, session, conn),
        };
        if self.shared.presence.report(report).is_err() {
            self.counters.presence_dropped += 1;
        }
    }

    /// Enters a connection in the agenda for whatever is due next.
    pub(crate) fn schedule(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        let (now_ms, unix_ms) = (cx.now_ms(), cx.unix_ms());
        let grace_ms = self.shared.config.auth.token_grace_ms;
        let Some(session) = cx.session(conn) else { return };
        let left_ms = u64::try_from(session.ends_unix_ms(grace_ms).saturating_sub(unix_ms)).unwrap_or(0);
        let mut due_ms = session.refresh_ms.min(now_ms.saturating_add(left_ms));
        if session.recheck_ms > 0 {
            due_ms = due_ms.min(session.recheck_ms);
        }
        let due_ms = due_ms.max(1);
        let old_ms = std::mem::replace(&mut session.due_ms, due_ms);
        self.agenda.move_to(conn, old_ms, due_ms);
        self.arm(cx);
    }

    /// The timer fired: does what is due.
    pub(crate) fn look_after(&mut self, cx: &mut Cx<'_, Shard>) {
        self.agenda.fired();
        let now_ms = cx.now_ms();
        for _ in 0..LOOKS_A_TURN {
            let Some(conn) = self.agenda.pop_due(now_ms) else { break };
            self.look_after_one(cx, conn);
        }
        self.arm(cx);
    }

    fn look_after_one(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        let (now_ms, unix_ms) = (cx.now_ms(), cx.unix_ms());
        let Some(session) = cx.session(conn) else { return };
        session.due_ms = 0;
        if session.ends_unix_ms(self.shared.config.auth.token_grace_ms) <= unix_ms {
            return self.close(cx, conn, &TOKEN_EXPIRED);
        }
        let refresh = session.refresh_ms <= now_ms;
        let recheck = session.recheck_ms > 0 && session.recheck_ms <= now_ms;
        if refresh {
            session.refresh_ms = now_ms + self.random.jittered(self.shared.config.presence.refresh_ms);
            if self.shared.presence.report(report(Kind::Refresh, session, conn)).is_err() {
                self.counters.presence_dropped += 1;
            }
        }
        if recheck {
            self.recheck(cx, conn);
        }
        self.schedule(cx, conn);
    }

    /// Compares heads once more with what the client was told of.
    fn recheck(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        let (now_ms, shard) = (cx.now_ms(), cx.shard());
        let Some(session) = cx.session(conn) else { return };
        session.recheck_ms = 0;
        let user_id = session.user_id;
        let Some(told) = self.rechecks.told(user_id, conn) else { return };
        let cost_bytes = heads_bytes(&told);
        let run = move |clients| async move {
            let changed = Box::pin(calls::recheck(clients, user_id, told)).await.ok();
            Mail::Rechecked { conn, user_id, changed }
        };
        let failed = move || Mail::Rechecked { conn, user_id, changed: None };
        let asked = self.shared.side.run(Lane::Data, shard, cost_bytes, run, failed);
        if asked.is_err() {
            session.recheck_ms = now_ms + RECHECK_AGAIN_MS;
        }
    }

    /// When the comparison itself failed, the client makes one.
    pub(crate) fn rechecked(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        conn: ConnId,
        user_id: u64,
        changed: Option<&[Head]>,
    ) {
        let missed = self.rechecks.end(user_id, conn, changed.unwrap_or_default());
        if missed || changed.is_none() {
            self.send_resync(cx, conn, 0);
        }
    }

    pub(crate) fn send_resync(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, delay_ms: u64) {
        self.counters.resyncs += 1;
        let frame = outbound::resync(delay_ms, cx.unix_ms());
        let _ = self.queue(cx, conn, &frame);
    }
}

fn report(kind: Kind, session: &Session, conn: ConnId) -> Report {
    Report { kind, user_id: session.user_id, device_id: session.device_id.clone(), conn }
}
