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
};
use crate::{
    mail::Mail,
    protocol::{
        inbound::SendMessage,
        outbound::{self, Answered},
    },
    shard::{Closed, Farewell, Shard},
};

const REFUSALS_FULL: Farewell = Farewell {
    code: 1013,
    reason: "too many conversations wait for a refused message",
    counter: Closed::RefusalsFull,
};

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
        let message_type = match message.check(&self.shared.frame_limits) {
            Ok(message_type) => message_type,
            Err(error) => return self.reject(cx, conn, &answered, &error),
        };
        let (unix_ms, limits) = (cx.unix_ms(), &self.shared.config.upstream);
        let Some(session) = cx.session(conn) else { return };
        let turn = session.refusals.as_ref().map_or(Turn::Free, |refusals| {
            refusals.turn(message.conversation_id.as_bytes(), message.client_msg_id.as_bytes())
        });
        let refused = if turn == Turn::Behind {
            Some(Code::Overloaded)
        } else if session.sends_in_flight >= limits.in_flight_per_connection_max {
            Some(Code::RateLimited)
        } else if self.pending.is_full() {
            Some(Code::Overloaded)
        } else if self.draining {
            Some(Code::Unavailable)
        } else {
            None
        };
        if let Some(code) = refused {
            return self.refuse_message(cx, conn, &answered, code);
        }
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

    fn admit(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, answered: &Answered<'_>, encoded: Encoded) {
        let shard = cx.shard();
        let Some(session) = cx.session(conn) else { return };
        let Encoded { value, conversation_id, client_msg_id } = encoded;
        let key = conversation_id.clone();
        let id = answered.id.map(Into::into);
        let entry = PendingSend { conn, conversation_id, client_msg_id, id, order: session.sends };
        let Ok(ticket) = self.pending.insert(entry) else { return };
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
        if let SendError::TooLarge(_) = error {
            let error = Error::new(Code::TooLarge, "the message is longer than the queue takes");
            return self.reject(cx, entry.conn, answered, &error);
        }
        self.refuse(cx, &entry, Code::Overloaded);
    }

    /// The queue has confirmed a send, or could not keep it.
    pub(crate) fn confirmed(&mut self, cx: &mut Cx<'_, Shard>, ticket: Ticket, kept: bool) {
        if let Some(entry) = self.settle(cx, ticket) {
            if kept {
                self.counters.acks_accepted += 1;
                let frame = outbound::accepted(&entry.answered(), cx.unix_ms());
                let _ = self.queue(cx, entry.conn, &frame);
            } else {
                self.refuse(cx, &entry, Code::Unavailable);
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

    /// Answers a send that never became pending with `retry`.
    fn refuse_message(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, answered: &Answered<'_>, code: Code) {
        let Some(session) = cx.session(conn) else { return };
        let order = session.sends;
        session.sends = session.sends.wrapping_add(1);
        let entry = PendingSend {
            conn,
            conversation_id: Bytes::copy_from_slice(answered.conversation_id.as_bytes()),
            client_msg_id: Bytes::copy_from_slice(answered.client_msg_id.as_bytes()),
            id: answered.id.map(Into::into),
            order,
        };
        self.refuse(cx, &entry, code);
    }

    /// Answers `retry`, and keeps later sends of the conversation behind this one.
    fn refuse(&mut self, cx: &mut Cx<'_, Shard>, entry: &PendingSend, code: Code) {
        self.counters.retries.count(code);
        let limits = &self.shared.config.upstream;
        let Some(session) = cx.session(entry.conn) else { return };
        let refusals = session.refusals.get_or_insert_default();
        let max = limits.refused_conversations_max;
        let noted = refusals.refuse(&entry.conversation_id, &entry.client_msg_id, entry.order, max);
        let frame = outbound::retry(&entry.answered(), cx.unix_ms(), code.number(), limits.retry_after_ms);
        let _ = self.queue(cx, entry.conn, &frame);
        if !noted {
            self.close(cx, entry.conn, &REFUSALS_FULL);
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
