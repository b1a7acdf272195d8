//! Records of gochat.downstream, written by hand where the generated code would copy a message for each gateway.
use bytes::{BufMut, Bytes, BytesMut};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint, key_len};

use crate::common::v1::Message;
use crate::queue::v1::{Ack, Downstream, downstream};

// Field numbers of queue.proto; a test holds them to the generated code.
const DOWNSTREAM_INSTANCE: u32 = 1;
const DOWNSTREAM_MESSAGE: u32 = 2;
const DELIVERY_MESSAGE: u32 = 1;
const DELIVERY_USERS: u32 = 2;
const DELIVERY_EVERYONE: u32 = 3;
const DELIVERY_DROPPABLE: u32 = 4;

/// Who of a gateway gets a message.
#[derive(Clone, Copy, Debug)]
pub enum Audience<'a> {
    /// These users; at most 1,000. None of their connections may miss it.
    Users(&'a [u64]),
    /// These members of a large group; at most 1,000. A slow connection may miss it.
    Crowd(&'a [u64]),
    /// Every connection. A slow one may miss it.
    Everyone,
}

/// The part of a delivery that is the same for every gateway.
pub fn message(message: &Message) -> Bytes {
    message.encode_to_vec().into()
}

/// A whole record around a message that was encoded before.
pub fn delivery(instance: &str, message: &[u8], audience: Audience<'_>) -> Bytes {
    let (users, everyone, droppable): (&[u64], bool, bool) = match audience {
        Audience::Users(users) => (users, false, false),
        Audience::Crowd(users) => (users, false, true),
        Audience::Everyone => (&[], true, true),
    };
    let packed: usize = users.iter().map(|user| encoded_len_varint(*user)).sum();
    let users_len = if users.is_empty() { 0 } else { delimited(DELIVERY_USERS, packed) };
    let flag_len = |field, set| if set { key_len(field) + 1 } else { 0 };
    let flags_len = flag_len(DELIVERY_EVERYONE, everyone) + flag_len(DELIVERY_DROPPABLE, droppable);
    let body = delimited(DELIVERY_MESSAGE, message.len()) + users_len + flags_len;
    let total = delimited(DOWNSTREAM_INSTANCE, instance.len()) + delimited(DOWNSTREAM_MESSAGE, body);

    let mut out = BytesMut::with_capacity(total);
    put_head(&mut out, DOWNSTREAM_INSTANCE, instance.len());
    out.put_slice(instance.as_bytes());
    put_head(&mut out, DOWNSTREAM_MESSAGE, body);
    put_head(&mut out, DELIVERY_MESSAGE, message.len());
    out.put_slice(message);
    if !users.is_empty() {
        put_head(&mut out, DELIVERY_USERS, packed);
        users.iter().for_each(|user| encode_varint(*user, &mut out));
    }
    put_flag(&mut out, DELIVERY_EVERYONE, everyone);
    put_flag(&mut out, DELIVERY_DROPPABLE, droppable);
    debug_assert_eq!(out.len(), total);
    out.freeze()
}

/// An ack for one connection of a gateway.
pub fn ack(instance: &str, ack: Ack) -> Bytes {
    any(instance, downstream::Body::Ack(ack))
}

/// Any other record.
pub fn any(instance: &str, body: downstream::Body) -> Bytes {
    Downstream { gateway_instance: instance.to_owned(), body: Some(body) }.encode_to_vec().into()
}

fn delimited(field: u32, length: usize) -> usize {
    key_len(field) + encoded_len_varint(length as u64) + length
}

fn put_head(out: &mut BytesMut, field: u32, length: usize) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(length as u64, out);
}

fn put_flag(out: &mut BytesMut, field: u32, set: bool) {
    if set {
        encode_key(field, WireType::Varint, out);
        encode_varint(1, out);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::queue::v1::Delivery;

    #[test]
    fn a_delivery_is_what_the_generated_code_writes() {
        let one = Message {
            message_id: 1 << 62,
            conversation_id: "single_1_2".into(),
            sender_id: 1,
            content: "grüß".repeat(100),
            message_type: 1,
            seq_id: 300,
            client_msg_id: "k".into(),
            created_at_ms: 1_700_000_000_000,
        };
        let many: Vec<u64> = (0..1000).map(|n| n * n * n + 1).collect();
        for audience in [
            Audience::Everyone,
            Audience::Users(&[7]),
            Audience::Users(&many),
            Audience::Users(&[]),
            Audience::Crowd(&many),
        ] {
            let ours = delivery("instance-1", &message(&one), audience);
            let (users, everyone, droppable) = match audience {
                Audience::Users(users) => (users, false, false),
                Audience::Crowd(users) => (users, false, true),
                Audience::Everyone => (&[][..], true, true),
            };
            let user_ids = users.to_vec();
            let delivery = Delivery { message: Some(one.clone()), user_ids, everyone, droppable };
            let theirs = any("instance-1", downstream::Body::Message(delivery));
            assert_eq!(ours, theirs);
        }
    }
}
