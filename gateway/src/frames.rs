//! A frame from a client, on its home shard.

use gochat_core::{ConnId, Cx};
use gochat_infra::errors::{Code, Error};
use gochat_proto::common::v1::Head;

use crate::{
    auth,
    mail::Mail,
    protocol::{
        envelope,
        inbound::{self, Inbound},
        outbound,
    },
    rates::Kind,
    routes::Lane,
    session::HeadsRequest,
    shard::{Closed, Farewell, Shard},
    side::{self, Clients, calls, calls::Answer},
};

/// Longer ids than this are rare.
const CONVERSATION_ID_BYTES: usize = 48;

const MALFORMED: Farewell =
    Farewell { code: 1008, reason: "too many frames that can't be read", counter: Closed::Malformed };

impl Shard {
    pub(crate) fn frame(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, text: &str) {
        self.counters.frames += 1;
        let envelope = match envelope::parse(text) {
            Ok(envelope) => envelope,
            Err(why) => return self.malformed(cx, conn, &why),
        };
        if let Some(session) = cx.session(conn) {
            session.malformed_in_a_row = 0;
        }
        let id = envelope.id;
        let inbound = match inbound::parse(&envelope, &self.shared.frame_limits) {
            Ok(Inbound::Send(message)) => return self.send_message(cx, conn, id, &message),
            other => other,
        };
        if let Err(too_fast) = self.take_rate(cx, conn, Kind::Request) {
            return self.too_fast(cx, conn, id, &too_fast);
        }
        match inbound {
            Ok(inbound) => self.request_frame(cx, conn, id, inbound),
            Err(error) => self.queue_error(cx, conn, id, &error),
        }
    }

    fn request_frame(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        conn: ConnId,
        id: Option<&str>,
        inbound: Inbound<'_>,
    ) {
        match inbound {
            Inbound::Send(message) => self.send_message(cx, conn, id, &message),
            Inbound::Ping => {
                let pong = outbound::pong(id, cx.unix_ms());
                let _ = self.queue(cx, conn, &pong);
            }
            Inbound::Pong => {}
            Inbound::Heads(heads) => {
                let id = id.map(Into::into);
                self.heads(cx, conn, HeadsRequest { id, known: heads.known, page_limit: heads.page_limit });
            }
            Inbound::Sync(wanted) => {
                let limits = self.shared.config.requests.clone();
                self.ask(cx, conn, id, |clients, user_id, id| {
                    calls::sync(clients, user_id, id, wanted, limits)
                });
            }
            Inbound::MarkRead(mark) => {
                self.ask(cx, conn, id, |clients, user_id, id| calls::mark_read(clients, user_id, id, mark));
            }
            Inbound::Auth(auth) => self.renew(cx, conn, id, &auth.token),
        }
    }

    /// A newer token moves the end of the socket. A bad one changes nothing: the socket lives as long as its old one.
    fn renew(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, id: Option<&str>, token: &str) {
        let now_ms = cx.unix_ms();
        let now_s = u64::try_from(now_ms / 1000).unwrap_or(0);
        let claims = auth::verify(token, &self.shared.keys, now_s);
        let claims = claims.and_then(|claims| self.check_token(&claims).map(|()| claims));
        let Some(session) = cx.session(conn) else { return };
        let renewed = claims.and_then(|claims| {
            if claims.sub != session.user_id || *claims.device != *session.device_id {
                let message = "this token is of another user or device: connect anew with it";
                return Err(Error::new(Code::Unauthenticated, message));
            }
            session.renew(&claims);
            Ok(session.expires_ms)
        });
        match renewed {
            Ok(expires_ms) => {
                let frame = outbound::auth(id, expires_ms, now_ms);
                let _ = self.queue(cx, conn, &frame);
                self.schedule(cx, conn);
            }
            Err(error) => self.queue_error(cx, conn, id, &error),
        }
    }

    fn malformed(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, why: &str) {
        if let Err(too_fast) = self.take_rate(cx, conn, Kind::Request) {
            return self.too_fast(cx, conn, None, &too_fast);
        }
        self.queue_error(cx, conn, None, &Error::new(Code::InvalidInput, format!("not a frame: {why}")));
        let max = self.shared.config.requests.malformed_in_a_row_max;
        if let Some(session) = cx.session(conn) {
            session.malformed_in_a_row += 1;
            if session.malformed_in_a_row >= max {
                self.close(cx, conn, &MALFORMED);
            }
        }
    }

    /// Takes a place among the connection's requests in flight; the answer gives it back.
    fn take_place(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) -> Result<u64, Error> {
        let max = self.shared.config.requests.in_flight_per_connection_max;
        let gone = || Error::new(Code::Unavailable, "the connection is closing");
        let session = cx.session(conn).ok_or_else(gone)?;
        if session.requests_in_flight >= max {
            let message = format!("at most {max} requests of a connection may wait for their answers");
            return Err(
                Error::new(Code::RateLimited, message).retry_after_ms(self.shared.config.side.retry_after_ms)
            );
        }
        session.requests_in_flight += 1;
        Ok(session.user_id)
    }

    fn give_place_back(cx: &mut Cx<'_, Shard>, conn: ConnId) {
        if let Some(session) = cx.session(conn) {
            session.requests_in_flight = session.requests_in_flight.saturating_sub(1);
        }
    }

    /// Runs a request of a connection on the side.
    fn ask<F>(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        conn: ConnId,
        id: Option<&str>,
        make: impl FnOnce(Clients, u64, Option<Box<str>>) -> F + Send + 'static,
    ) where
        F: Future<Output = Answer> + Send + 'static,
    {
        let outcome = self.take_place(cx, conn).and_then(|user_id| {
            let id: Option<Box<str>> = id.map(Into::into);
            let failed = failed(conn, id.clone());
            let run = move |clients| {
                let answer = make(clients, user_id, id);
                async move { Mail::Answered { conn, answer: answer.await } }
            };
            let handed = self.shared.side.run(Lane::Data, cx.shard(), 0, run, failed);
            handed.inspect_err(|_| Self::give_place_back(cx, conn))
        });
        if let Err(error) = outcome {
            self.queue_error(cx, conn, id, &error);
        }
    }

    /// Heads wait until the session is written.
    fn heads(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, asked: HeadsRequest) {
        if let Err(error) = self.take_place(cx, conn) {
            return self.queue_error(cx, conn, asked.id.as_deref(), &error);
        }
        let Some(session) = cx.session(conn) else { return };
        if session.bound_ms.is_some() {
            return self.ask_heads(cx, conn, asked);
        }
        let error = if session.early_heads.is_some() {
            Error::new(Code::RateLimited, "an earlier heads still waits for its answer")
        } else if self.rechecks.take_room(asked.known.len()) {
            session.early_heads = Some(Box::new(asked));
            return;
        } else {
            self.counters.early_heads_refused += 1;
            Error::new(Code::Overloaded, "too many connects now: ask again in a moment")
        };
        Self::give_place_back(cx, conn);
        let error = error.retry_after_ms(self.shared.config.side.retry_after_ms);
        self.queue_error(cx, conn, asked.id.as_deref(), &error);
    }

    /// Reads heads now. The request has its place already.
    pub(crate) fn ask_heads(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, asked: HeadsRequest) {
        let (now_ms, shard) = (cx.now_ms(), cx.shard());
        let limits = self.shared.config.requests.clone();
        let Some(session) = cx.session(conn) else { return };
        let user_id = session.user_id;
        // Only what is read in the first seconds may miss what a router did not know to send here.
        let early = session.bound_ms.is_none_or(|bound_ms| now_ms < bound_ms + limits.recheck_after_ms);
        if early {
            self.note_told(cx, conn, user_id, &asked.known);
        }
        let (id, cost_bytes) = (asked.id.clone(), heads_bytes(&asked.known));
        let run = move |clients| async move {
            let answer = Box::pin(calls::heads(clients, user_id, asked, limits)).await;
            Mail::Answered { conn, answer }
        };
        let handed = self.shared.side.run(Lane::Data, shard, cost_bytes, run, failed(conn, id.clone()));
        if let Err(error) = handed {
            Self::give_place_back(cx, conn);
            self.rechecks.forget(user_id, conn);
            self.queue_error(cx, conn, id.as_deref(), &error);
        }
    }

    pub(crate) fn answered(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, answer: Answer) {
        Self::give_place_back(cx, conn);
        let frames = match answer {
            Answer::Frames(frames) => frames,
            Answer::Heads { frames, changed, epoch } => {
                self.epoch = self.epoch.max(Some(epoch));
                self.told(cx, conn, &changed);
                frames
            }
            Answer::Failed { id, error } => return self.queue_error(cx, conn, id.as_deref(), &error),
        };
        for frame in frames {
            if self.queue(cx, conn, &frame).is_break() {
                return;
            }
        }
    }

    /// Notes what heads told, and when they are to be compared again.
    fn told(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, changed: &[Head]) {
        let (now_ms, after_ms) = (cx.now_ms(), self.shared.config.requests.recheck_after_ms);
        let Some(session) = cx.session(conn) else { return };
        if !self.rechecks.watches(session.user_id, conn) {
            return;
        }
        if session.recheck_ms == 0 {
            session.recheck_ms = (session.bound_ms.unwrap_or(now_ms) + after_ms).max(now_ms + 1);
        }
        let user_id = session.user_id;
        self.note_told(cx, conn, user_id, changed);
        self.schedule(cx, conn);
    }

    /// Notes heads for the second comparison. Without room for them the client makes it.
    fn note_told(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, user_id: u64, heads: &[Head]) {
        if !self.rechecks.note(user_id, conn, heads) {
            self.counters.rechecks_without_room += 1;
            self.send_resync(cx, conn, self.shared.config.requests.recheck_after_ms);
        }
    }
}

/// What heads take in memory, about.
pub(crate) fn heads_bytes(heads: &[Head]) -> usize {
    heads.len() * (size_of::<Head>() + CONVERSATION_ID_BYTES)
}

/// The answer to a request whose work panicked.
fn failed(conn: ConnId, id: Option<Box<str>>) -> impl FnOnce() -> Mail + Send + 'static {
    move || Mail::Answered { conn, answer: Answer::Failed { id, error: Box::new(side::panicked()) } }
}
