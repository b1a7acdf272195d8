//! The topic's payload, encoded straight from the borrowed frame: one allocation a message. The generated type
//! would copy five strings first; a test holds this encoder to it.

use std::ops::Range;

use bytes::Bytes;
use gochat_proto::common::v1::MessageType;

/// What becomes a [`gochat_proto::queue::v1::UpstreamMessage`].
#[derive(Debug, Clone, Copy)]
pub(crate) struct Event<'a> {
    pub(crate) conversation_id: &'a str,
    pub(crate) sender_id: u64,
    pub(crate) device_id: &'a str,
    pub(crate) client_msg_id: &'a str,
    pub(crate) content: &'a str,
    pub(crate) message_type: MessageType,
    pub(crate) received_at_ms: i64,
    pub(crate) gateway_instance: &'a str,
    pub(crate) gateway_slot: u32,
    pub(crate) connection_id: u64,
}

/// The payload, with the two ids that the sender's ack needs as parts of the same buffer.
#[derive(Debug, Clone)]
pub(crate) struct Encoded {
    pub(crate) value: Bytes,
    pub(crate) conversation_id: Bytes,
    pub(crate) client_msg_id: Bytes,
}

/// Tags, lengths and numbers of all ten fields never take more than this.
const OVERHEAD_MAX_BYTES: usize = 100;

pub(crate) fn encode(event: &Event<'_>) -> Encoded {
    let texts =
        [event.conversation_id, event.device_id, event.client_msg_id, event.content, event.gateway_instance];
    let capacity = texts.iter().map(|text| text.len()).sum::<usize>() + OVERHEAD_MAX_BYTES;
    let mut out = Vec::with_capacity(capacity);
    let conversation = text(&mut out, 1, event.conversation_id);
    number(&mut out, 2, event.sender_id);
    text(&mut out, 3, event.device_id);
    let client_msg = text(&mut out, 4, event.client_msg_id);
    text(&mut out, 5, event.content);
    number(&mut out, 6, event.message_type as u64);
    // An int64 is encoded as the varint of its 64 bits.
    number(&mut out, 7, event.received_at_ms.cast_unsigned());
    text(&mut out, 8, event.gateway_instance);
    number(&mut out, 9, event.gateway_slot.into());
    number(&mut out, 10, event.connection_id);
    debug_assert!(out.len() <= capacity, "the payload must not grow its buffer");
    let value = Bytes::from(out);
    Encoded { conversation_id: value.slice(conversation), client_msg_id: value.slice(client_msg), value }
}

/// A length-delimited field; returns where its content stands.
fn text(out: &mut Vec<u8>, field: u8, text: &str) -> Range<usize> {
    out.push(field << 3 | 2);
    varint(out, text.len() as u64);
    let from = out.len();
    out.extend_from_slice(text.as_bytes());
    from..out.len()
}

fn number(out: &mut Vec<u8>, field: u8, value: u64) {
    out.push(field << 3);
    varint(out, value);
}

fn varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[cfg(test)]
mod tests {
    use gochat_proto::queue::v1::UpstreamMessage;
    use proptest::prelude::*;
    use prost::Message as _;

    use super::*;

    proptest! {
        #[test]
        fn the_generated_type_reads_what_is_encoded(
            texts in any::<[String; 5]>(),
            numbers in any::<[u64; 3]>(),
            slot in any::<u32>(),
            kind in 0..4_i32,
        ) {
            let event = Event {
                conversation_id: &texts[0],
                sender_id: numbers[0],
                device_id: &texts[1],
                client_msg_id: &texts[2],
                content: &texts[3],
                message_type: MessageType::try_from(kind).expect("a type"),
                received_at_ms: numbers[1].cast_signed(),
                gateway_instance: &texts[4],
                gateway_slot: slot,
                connection_id: numbers[2],
            };
            let encoded = encode(&event);
            prop_assert_eq!(&encoded.conversation_id, texts[0].as_bytes());
            prop_assert_eq!(&encoded.client_msg_id, texts[2].as_bytes());
            let read = UpstreamMessage::decode(encoded.value).expect("the generated type reads it");
            let [conversation_id, device_id, client_msg_id, content, gateway_instance] = texts;
            prop_assert_eq!(read, UpstreamMessage {
                conversation_id,
                sender_id: numbers[0],
                device_id,
                client_msg_id,
                content,
                message_type: kind,
                received_at_ms: numbers[1].cast_signed(),
                gateway_instance,
                gateway_slot: slot,
                connection_id: numbers[2],
            });
        }
    }
}
