//! From a record to a message that may be judged, or the reason why it never can be.
use gochat_infra::errors::Code;
use gochat_infra::mq::Record;
use gochat_proto::common::v1::MessageType;
use gochat_proto::queue::v1::UpstreamMessage;
use prost::Message;

use super::dedupe::Key;
use crate::domain::conversation::Conversation;
use crate::domain::{Invalid, fields};

/// A message on its way in.
#[derive(Debug)]
pub(crate) struct Inbound {
    /// Index of its record in the batch.
    pub record: usize,
    pub partition: u32,
    pub conversation: Conversation,
    pub message: UpstreamMessage,
}

impl Inbound {
    pub(crate) fn key(&self) -> Key<'_> {
        Key {
            conversation_id: &self.message.conversation_id,
            sender_id: self.message.sender_id,
            client_msg_id: &self.message.client_msg_id,
        }
    }

    /// What makes it the same message under the same key.
    pub(crate) fn content(&self) -> (&str, i32) {
        (&self.message.content, self.message.message_type)
    }
}

impl Poison {
    /// The store refused this message for good.
    pub(crate) fn refused(item: &Inbound, code: Code, reason: &str) -> Self {
        let sender = Some((item.message.clone(), code));
        Self { record: item.record, reason: format!("It can't be stored: {reason}"), sender }
    }
}

/// A record that can never succeed.
#[derive(Debug)]
pub(crate) struct Poison {
    pub record: usize,
    pub reason: String,
    /// Whom to tell, when that much could be read, and the code to tell him.
    pub sender: Option<(UpstreamMessage, Code)>,
}

/// Pure; boxes the poison, which is rare and large.
pub(crate) fn decode(
    index: usize,
    record: &Record,
    content_max_bytes: usize,
) -> Result<Inbound, Box<Poison>> {
    let poison = |reason: String, sender| Err(Box::new(Poison { record: index, reason, sender }));
    let message = match UpstreamMessage::decode(record.value.clone()) {
        Ok(message) => message,
        Err(e) => return poison(format!("not an upstream message: {e}"), None),
    };
    let conversation = Conversation::parse(&message.conversation_id);
    match (conversation, check(&message, content_max_bytes)) {
        (Some(conversation), Ok(())) => {
            Ok(Inbound { record: index, partition: record.partition, conversation, message })
        }
        (None, _) => {
            poison("There is no conversation of this id.".into(), Some((message, Code::InvalidInput)))
        }
        (_, Err(invalid)) => poison(invalid.reason, Some((message, Code::InvalidInput))),
    }
}

fn check(message: &UpstreamMessage, content_max_bytes: usize) -> Result<(), Invalid> {
    fields::client_msg_id(&message.client_msg_id)?;
    fields::content(&message.content, content_max_bytes)?;
    if !(1..=i64::MAX as u64).contains(&message.sender_id) {
        return Err(Invalid { field: "sender", reason: "A message needs a sender.".into() });
    }
    match message.message_type() {
        MessageType::Text | MessageType::Image | MessageType::File => Ok(()),
        MessageType::Unspecified | MessageType::System => {
            Err(Invalid { field: "messageType", reason: "Clients send text, image or file.".into() })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn good() -> UpstreamMessage {
        UpstreamMessage {
            conversation_id: "single_1_2".into(),
            sender_id: 1,
            client_msg_id: "a".into(),
            content: "hi".into(),
            message_type: MessageType::Text.into(),
            ..UpstreamMessage::default()
        }
    }

    fn record(value: Vec<u8>) -> Record {
        Record {
            topic: gochat_proto::topics::UPSTREAM,
            partition: 3,
            offset: 9,
            key: "single_1_2".into(),
            value: value.into(),
        }
    }

    #[test]
    fn what_the_store_could_never_take_is_poison() {
        let check = |change: fn(&mut UpstreamMessage), expect: bool| {
            let mut message = good();
            change(&mut message);
            let got = decode(5, &record(message.encode_to_vec()), 4);
            assert_eq!(got.is_ok(), expect, "{message:?}");
            match got {
                Ok(inbound) => assert_eq!((inbound.record, inbound.partition), (5, 3)),
                Err(poison) => assert_eq!(poison.sender, Some((message, Code::InvalidInput))),
            }
        };
        check(|_| {}, true);
        check(|m| m.conversation_id = "world".into(), true);
        check(|m| m.conversation_id = "single_2_1".into(), false);
        check(|m| m.conversation_id.clear(), false);
        check(|m| m.client_msg_id = "a b".into(), false);
        check(|m| m.content.clear(), false);
        check(|m| m.content = "12345".into(), false);
        check(|m| m.sender_id = 0, false);
        check(|m| m.sender_id = u64::MAX, false);
        check(|m| m.set_message_type(MessageType::Image), true);
        check(|m| m.set_message_type(MessageType::System), false);
        check(|m| m.message_type = 99, false);
        check(|m| m.message_type = 0, false);
    }

    #[test]
    fn bytes_that_are_no_message_are_poison_with_nobody_to_tell() {
        let poison = decode(0, &record(vec![0xff; 7]), 4).unwrap_err();
        assert!(poison.sender.is_none() && poison.reason.contains("not an upstream message"));
    }
}
