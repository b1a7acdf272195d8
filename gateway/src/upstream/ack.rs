//! A send on its shard: admitted or refused, and answered when the queue has spoken. No call to anyone, no log.

use bytes::Bytes;
use gochat_core::{ConnId, Cx};
use gochat_infra::{
    errors::{Code, Error},
    mq::{Outgoing, SendError, Target},
};
use gochat_proto::topics;

use super::{
    admit::Turn,
    event::{Encoded, Event, encode},
    pending::{PendingSend, Ticket},
    unfinished::SendKey,
};
use crate::{
    mail::Mail,
    protocol::{
        inbound::SendMessage,
        outbound::{self, Answered},
    },
    rates::{Kind, TooFast, Whose},
    shard::{Closed, Farewell, Shard},
};

const REFUSALS_FULL: Farewell = Farewell {
    code: 1013,
    reason: "too many conversations wait for a refused message",
    counter: Closed::RefusalsFull,
};

const ABUSE: Farewell =
    Farewell { code: 1008, reason: "too many frames above the rate", counter: Closed::Abuse };

/// Why a send is answered `retry`, in the order of [`Refusal::NAMES`].
#[derive(Debug, Clone, Copy)]
pub(crate) enum Refusal {
    /// An earlier message of the conversation has to return first.
    Behind,
    ConnectionRate,
    UserRate,
    ConnectionInFlight,
    ShardInFlight,
    /// The pipeline lags behind.
    Lag,
    /// Too many sends that the pipeline has not answered for.
    Unfinished,
    /// The queue takes no more.
    QueueFull,
    /// The queue could not keep it.
    NotKept,
    Draining,
}

impl Refusal {
    pub(crate) const NAMES: [&'static str; 10] = [
        "behind",
        "connection_rate",
        "user_rate",
        "connection_in_flight",
        "shard_in_flight",
        "lag",
        "unfinished",
        "queue_full",
        "not_kept",
        "draining",
    ];

    fn code(self) -> Code {
        match self {
            Refusal::ConnectionRate | Refusal::UserRate | Refusal::ConnectionInFlight => Code::RateLimited,
            Refusal::NotKept | Refusal::Draining => Code::Unavailable,
            Refusal::Behind
            | Refusal::ShardInFlight
            | Refusal::Lag
            | Refusal::Unfinished
            | Refusal::QueueFull => Code::Overloaded,
        }
    }
}

impl From<Whose> for Refusal {
    fn from(whose: Whose) -> Self {
        match whose {
            Whose::Connection => Refusal::ConnectionRate,
            Whose::User => Refusal::UserRate,
        }
    }
}

impl Shard {
    pub(crate) fn send_message(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        conn: ConnId,
        id: Option<&str>,
        message: &SendMessage<'_>,
    ) {
        let answered =
            Answered { client_msg_id: &message.client_msg_id, conversation_id: &message.conversation_id, id };
        let rate = self.take_rate(cx, conn, Kind::Send);
        let message_type = match (message.check(&self.shared.frame_limits), &rate) {
            (Ok(message_type), _) => message_type,
            (Err(error), Ok(())) => return self.reject(cx, conn, &answered, &error),
            // Nothing sound is lost, and a flood of such messages ends the connection too.
            (Err(_), Err(too_fast)) => return self.too_fast(cx, conn, id, too_fast),
        };
        if let Err(too_fast) = rate {
            self.refuse_message(cx, conn, &answered, too_fast.whose.into(), too_fast.retry_after_ms);
            return self.note_abuse(cx, conn);
        }
        let Some(session) = cx.session(conn) else { return };
        let turn = session.refusals.as_ref().map_or(Turn::Free, |refusals| {
            refusals.turn(message.conversation_id.as_bytes(), message.client_msg_id.as_bytes())
        });
        if let Some(refusal) = self.refusal(cx, conn, &turn) {
            let retry_after_ms = self.retry_after_ms(refusal);
            return self.refuse_message(cx, conn, &answered, refusal, retry_after_ms);
        }
        let unix_ms = cx.unix_ms();
        let Some(session) = cx.session(conn) else { return };
        session.forgive(turn, &message.conversation_id);
        let encoded = encode(&Event {
            conversation_id: &message.conversation_id,
            sender_id: session.user_id,
            device_id: &session.device_id,
            client_msg_id: &message.client_msg_id,
            content: &message.content,
            message_type,
            received_at_ms: unix_ms,
            gateway_instance: &self.shared.instance,
            gateway_slot: self.shared.slot,
            connection_id: conn.to_u64(),
        });
        self.admit(cx, conn, &answered, encoded);
    }

    fn refusal(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, turn: &Turn) -> Option<Refusal> {
        let (now_ms, limits) = (cx.now_ms(), &self.shared.config.upstream);
        let in_flight = cx.session(conn).map_or(0, |session| session.sends_in_flight);
        if *turn == Turn::Behind {
            Some(Refusal::Behind)
        } else if in_flight >= limits.in_flight_per_connection_max {
            Some(Refusal::ConnectionInFlight)
        } else if self.pending.is_full() {
            Some(Refusal::ShardInFlight)
        } else if self.draining {
            Some(Refusal::Draining)
        } else if self.unfinished.lag_ms(now_ms) > limits.unfinished_age_max_ms {
            Some(Refusal::Lag)
        } else if self.unfinished.len() >= limits.unfinished_per_shard_max {
            Some(Refusal::Unfinished)
        } else {
            None
        }
    }

    /// Senders that were refused together come back spread.
    fn retry_after_ms(&mut self, refusal: Refusal) -> u64 {
        let after_ms = self.shared.config.upstream.retry_after_ms;
        match refusal {
            Refusal::Lag | Refusal::Unfinished => after_ms + self.random.next() % (after_ms + 1),
            _ => after_ms,
        }
    }

    fn admit(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, answered: &Answered<'_>, encoded: Encoded) {
        let (shard, admitted_ms) = (cx.shard(), cx.now_ms());
        let Some(session) = cx.session(conn) else { return };
        let Encoded { value, conversation_id, client_msg_id } = encoded;
        let key = conversation_id.clone();
        let send = SendKey::of(conn.to_u64(), &client_msg_id);
        let id = answered.id.map(Into::into);
        let entry =
            PendingSend { conn, conversation_id, client_msg_id, id, order: session.sends, admitted_ms };
        let Ok(ticket) = self.pending.insert(entry) else { return };
        self.unfinished.admit(send, admitted_ms);
        session.sends = session.sends.wrapping_add(1);
        session.sends_in_flight += 1;
        let mailboxes = self.mailboxes.clone();
        let record = Outgoing { topic: topics::UPSTREAM, target: Target::ByKey, key, value };
        let sent = self.shared.producer.send(record, move |outcome| {
            mailboxes.shard(shard).post_reserved(Mail::Confirmed { ticket, kept: outcome.is_ok() });
        });
        match sent {
            Ok(()) => self.counters.sends += 1,
            Err(error) => self.not_sent(cx, ticket, answered, &error),
        }
    }

    fn not_sent(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        ticket: Ticket,
        answered: &Answered<'_>,
        error: &SendError,
    ) {
        let Some(entry) = self.settle(cx, ticket) else { return };
        self.unfinished.end(entry.key());
        if let SendError::TooLarge(_) = error {
            let error = Error::new(Code::TooLarge, "the message is longer than the queue takes");
            return self.reject(cx, entry.conn, answered, &error);
        }
        let retry_after_ms = self.retry_after_ms(Refusal::QueueFull);
        self.refuse(cx, &entry, Refusal::QueueFull, retry_after_ms);
    }

    /// The queue has confirmed a send, or could not keep it.
    pub(crate) fn confirmed(&mut self, cx: &mut Cx<'_, Shard>, ticket: Ticket, kept: bool) {
        if let Some(entry) = self.settle(cx, ticket) {
            if kept {
                self.counters.acks_accepted += 1;
                self.counters.accept_latency.note(cx.now_ms().saturating_sub(entry.admitted_ms), 1);
                let frame = outbound::accepted(&entry.answered(), cx.unix_ms());
                let _ = self.queue(cx, entry.conn, &frame);
            } else {
                self.unfinished.end(entry.key());
                let retry_after_ms = self.retry_after_ms(Refusal::NotKept);
                self.refuse(cx, &entry, Refusal::NotKept, retry_after_ms);
            }
        }
        self.tell_if_drained();
    }

    fn settle(&mut self, cx: &mut Cx<'_, Shard>, ticket: Ticket) -> Option<PendingSend> {
        let entry = self.pending.take(ticket)?;
        if let Some(session) = cx.session(entry.conn) {
            session.sends_in_flight = session.sends_in_flight.saturating_sub(1);
        }
        Some(entry)
    }

    /// The pipeline has answered for a send.
    pub(crate) fn finished(&mut self, cx: &Cx<'_, Shard>, send: SendKey, stored: bool) {
        if !stored {
            self.unfinished.end(send);
        } else if let Some(admitted_ms) = self.unfinished.stored(send) {
            self.counters.store_latency.note(cx.now_ms().saturating_sub(admitted_ms), 1);
        }
    }

    /// Answers a send that never became pending with `retry`.
    fn refuse_message(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        conn: ConnId,
        answered: &Answered<'_>,
        refusal: Refusal,
        retry_after_ms: u64,
    ) {
        let admitted_ms = cx.now_ms();
        let Some(session) = cx.session(conn) else { return };
        let order = session.sends;
        session.sends = session.sends.wrapping_add(1);
        let entry = PendingSend {
            conn,
            conversation_id: Bytes::copy_from_slice(answered.conversation_id.as_bytes()),
            client_msg_id: Bytes::copy_from_slice(answered.client_msg_id.as_bytes()),
            id: answered.id.map(Into::into),
            order,
            admitted_ms,
        };
        self.refuse(cx, &entry, refusal, retry_after_ms);
    }

    /// Answers `retry`, and keeps later sends of the conversation behind this one.
    fn refuse(&mut self, cx: &mut Cx<'_, Shard>, entry: &PendingSend, refusal: Refusal, retry_after_ms: u64) {
        self.counters.retries.count(refusal as usize);
        let max = self.shared.config.upstream.refused_conversations_max;
        let Some(session) = cx.session(entry.conn) else { return };
        let refusals = session.refusals.get_or_insert_default();
        let noted = refusals.refuse(&entry.conversation_id, &entry.client_msg_id, entry.order, max);
        let code = refusal.code().number();
        let frame = outbound::retry(&entry.answered(), cx.unix_ms(), code, retry_after_ms);
        let _ = self.queue(cx, entry.conn, &frame);
        if !noted {
            self.close(cx, entry.conn, &REFUSALS_FULL);
        }
    }

    /// Takes a frame's place in the rates of its connection and its user.
    pub(crate) fn take_rate(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        conn: ConnId,
        kind: Kind,
    ) -> Result<(), TooFast> {
        let now_ms = cx.now_ms();
        let Some(session) = cx.session(conn) else { return Ok(()) };
        self.rates.take(kind, session.user_id, &mut session.buckets, now_ms)
    }

    /// Answers a frame that came too fast and needs no `retry`.
    pub(crate) fn too_fast(
        &mut self,
        cx: &mut Cx<'_, Shard>,
        conn: ConnId,
        id: Option<&str>,
        too_fast: &TooFast,
    ) {
        self.counters.too_fast.count(too_fast.whose as usize);
        let message = match too_fast.whose {
            Whose::Connection => "this connection sends too many frames: slow down",
            Whose::User => "your devices together send too many frames: slow down",
        };
        let error = Error::new(Code::RateLimited, message).retry_after_ms(too_fast.retry_after_ms);
        self.queue_error(cx, conn, id, &error);
        self.note_abuse(cx, conn);
    }

    /// Who goes on though every frame is refused is put out.
    fn note_abuse(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        let now_ms = cx.now_ms();
        let Some(session) = cx.session(conn) else { return };
        if self.rates.refused(&mut session.buckets, now_ms) {
            self.close(cx, conn, &ABUSE);
        }
    }

    /// Answers that a message will never be stored.
    fn reject(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, answered: &Answered<'_>, error: &Error) {
        self.counters.rejects.count(error.code);
        if let Some(session) = cx.session(conn)
            && let Some(refusals) = &session.refusals
        {
            // A final answer to the first refused message frees those behind it.
            let (conversation, id) = (answered.conversation_id, answered.client_msg_id);
            let turn = refusals.turn(conversation.as_bytes(), id.as_bytes());
            session.forgive(turn, conversation);
        }
        let frame = outbound::rejected(answered, cx.unix_ms(), error);
        let _ = self.queue(cx, conn, &frame);
    }
}

impl PendingSend {
    fn key(&self) -> SendKey {
        SendKey::of(self.conn.to_u64(), &self.client_msg_id)
    }

    fn answered(&self) -> Answered<'_> {
        // Both are grammar-checked ASCII that was copied from a str.
        let text = |bytes| std::str::from_utf8(bytes).unwrap_or_default();
        Answered {
            client_msg_id: text(&self.client_msg_id),
            conversation_id: text(&self.conversation_id),
            id: self.id.as_deref(),
        }
    }
}
