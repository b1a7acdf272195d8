//! What others may learn, on gochat.events.*: of accounts, of groups and, if switched on, of messages.
//!
//! Best effort and after the commit: sending never waits, nothing that fails here fails what it tells of, and
//! what was not sent is counted. Who must not miss anything reads the store as well.
use bytes::{BufMut, Bytes, BytesMut};
use gochat_infra::mq::{Outgoing, Producer, SendError, Target};
use gochat_proto::queue::v1::{GroupEvent, UserEvent, group_event, user_event};
use gochat_proto::topics;
use prometheus_client::registry::Registry;
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};

use crate::config::EventsConfig;
use crate::metrics::Counts;
use crate::pipeline::unix_ms;

/// Field of MessageEvent in queue.proto; a test holds it to the generated code.
const EVENT_MESSAGE: u32 = 1;

/// What was told, and what was not.
#[derive(Clone)]
pub(crate) struct EventsMetrics {
    sent: Counts,
    dropped: Counts,
}

impl EventsMetrics {
    /// Names them in `registry`.
    pub(crate) fn register(r: &mut Registry) -> Self {
        Self {
            sent: Counts::register(r, "events_sent", "Events sent, by topic", "topic"),
            dropped: Counts::register(
                r,
                "events_dropped",
                "Events that the queue did not take, by topic",
                "topic",
            ),
        }
    }
}

/// Sends events; clones share everything.
#[derive(Clone)]
pub(crate) struct Events {
    producer: Producer,
    metrics: EventsMetrics,
    messages: bool,
}

impl Events {
    pub(crate) fn new(config: &EventsConfig, producer: Producer, metrics: EventsMetrics) -> Self {
        Self { producer, metrics, messages: config.messages }
    }

    /// Keyed by the user.
    pub(crate) fn user(&self, event: UserEvent) {
        self.send(topics::EVENTS_USER, event.user_id.to_string(), event.encode_to_vec().into());
    }

    /// What a user or one of his devices did just now.
    pub(crate) fn user_did(&self, kind: user_event::Kind, user_id: u64, device_id: &str) {
        self.user(UserEvent {
            kind: kind.into(),
            user_id,
            device_id: device_id.to_owned(),
            at_ms: unix_ms(),
            ..UserEvent::default()
        });
    }

    /// Whom a change of members concerns; keyed by the group.
    pub(crate) fn group(&self, kind: group_event::Kind, group_id: u64, version: u64, user_ids: Vec<u64>) {
        let event = GroupEvent { kind: kind.into(), group_id, user_ids, version, at_ms: unix_ms() };
        self.send(topics::EVENTS_GROUP, group_id.to_string(), event.encode_to_vec().into());
    }

    /// A stored message, encoded before; nothing when not switched on. Keyed by the conversation.
    pub(crate) fn message(&self, conversation_id: impl std::fmt::Display, message: &[u8]) {
        if self.messages {
            self.send(topics::EVENTS_MESSAGE, conversation_id.to_string(), message_event(message));
        }
    }

    fn send(&self, topic: &'static str, key: String, value: Bytes) {
        let record = Outgoing { topic, target: Target::ByKey, key: key.into(), value };
        let metrics = self.metrics.clone();
        let counted = move |lost: bool| match lost {
            true => metrics.dropped.inc(topic),
            false => metrics.sent.inc(topic),
        };
        let late = counted.clone();
        let taken = self.producer.send(record, move |written: Result<_, SendError>| late(written.is_err()));
        if taken.is_err() {
            counted(true);
        }
    }
}

fn message_event(message: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(message.len() + 6);
    encode_key(EVENT_MESSAGE, WireType::LengthDelimited, &mut out);
    encode_varint(message.len() as u64, &mut out);
    out.put_slice(message);
    out.freeze()
}

#[cfg(test)]
mod tests {
    use gochat_proto::common::v1::Message;
    use gochat_proto::queue::v1::MessageEvent;

    use super::*;

    #[test]
    fn an_event_of_a_message_is_what_the_generated_code_writes() {
        let message = Message { message_id: 7, content: "x".repeat(300), ..Message::default() };
        let ours = message_event(&message.encode_to_vec());
        assert_eq!(ours, MessageEvent { message: Some(message) }.encode_to_vec());
    }
}
