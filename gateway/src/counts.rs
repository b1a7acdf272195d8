//! The gateway's pure parts, each as an operation to be done again and again, as core's are: `make bench-check` counts
//! their instructions.

use std::hint::black_box;

use gochat_proto::common::v1::{Message, MessageType};

use crate::{
    protocol::{
        envelope,
        inbound::{self, FrameLimits, Inbound},
        outbound::{self, Answered},
    },
    upstream::event::{self, Event},
};

/// As core's: an operation's name, and what does it as often as it is told.
pub type Part = (&'static str, fn(u64));

/// The envelope, in both directions, and the queue's record.
pub const PARTS: [Part; 5] = [
    ("envelope_read_send", read_send),
    ("envelope_read_ping", read_ping),
    ("envelope_write_message", write_message),
    ("envelope_write_ack", write_ack),
    ("upstream_encode", encode),
];

const LIMITS: FrameLimits = FrameLimits { content_max_bytes: 4_096, heads_max: 1_000, page_max: 100 };
const NOW_MS: i64 = 1_763_948_000_123;
const CONVERSATION: &str = "single_72057594037927936_72057594037927937";
const CLIENT_MSG_ID: &str = "0192f3a1-7c44-7d1e-9b7a-3d5c1f7e2a90";
const CONTENT: &str =
    "See you at eight, then. I bring the \"good\" bread, and Ann said she'd bring the wine: \u{1f377}";

const SEND: &str = r#"{"type":"send-message","data":{"conversationId":"single_72057594037927936_72057594037927937","content":"See you at eight, then. I bring the \"good\" bread, and Ann said she'd bring the wine.","messageType":"text","clientMsgId":"0192f3a1-7c44-7d1e-9b7a-3d5c1f7e2a90"},"timestamp":1763948000123}"#;
const PING: &str = r#"{"type":"ping","data":{},"timestamp":1763948000123}"#;

fn read_send(times: u64) {
    for _ in 0..times {
        let envelope = envelope::parse(black_box(SEND)).expect("an envelope");
        let Ok(Inbound::Send(message)) = inbound::parse(&envelope, &LIMITS) else {
            panic!("no send-message")
        };
        assert_eq!(message.check(&LIMITS).ok(), Some(MessageType::Text));
        black_box(message);
    }
}

fn read_ping(times: u64) {
    for _ in 0..times {
        let envelope = envelope::parse(black_box(PING)).expect("an envelope");
        assert_eq!(black_box(inbound::parse(&envelope, &LIMITS)).ok(), Some(Inbound::Ping));
    }
}

fn write_message(times: u64) {
    let message = Message {
        message_id: 7_398_112_233_445_566_778,
        conversation_id: CONVERSATION.to_owned(),
        seq_id: 4_711,
        sender_id: 72_057_594_037_927_936,
        content: CONTENT.to_owned(),
        message_type: MessageType::Text.into(),
        client_msg_id: CLIENT_MSG_ID.to_owned(),
        created_at_ms: NOW_MS,
    };
    for _ in 0..times {
        let frame = black_box(outbound::new_message(black_box(&message), NOW_MS));
        assert!(frame.len() > CONVERSATION.len() + CLIENT_MSG_ID.len() + CONTENT.len());
    }
}

fn write_ack(times: u64) {
    let answered = Answered { client_msg_id: CLIENT_MSG_ID, conversation_id: CONVERSATION, id: None };
    for _ in 0..times {
        let frame = black_box(outbound::accepted(black_box(&answered), NOW_MS));
        assert!(frame.len() > CONVERSATION.len() + CLIENT_MSG_ID.len());
    }
}

fn encode(times: u64) {
    let event = Event {
        conversation_id: CONVERSATION,
        sender_id: 72_057_594_037_927_936,
        device_id: "web-7f3a9c52d1e84b06",
        client_msg_id: CLIENT_MSG_ID,
        content: CONTENT,
        message_type: MessageType::Text,
        received_at_ms: NOW_MS,
        gateway_instance: "gateway-0",
        gateway_slot: 0,
        connection_id: 1 << 40,
    };
    for _ in 0..times {
        let encoded = black_box(event::encode(black_box(&event)));
        assert!(encoded.value.len() > encoded.conversation_id.len() + encoded.client_msg_id.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_part_does_its_operation() {
        for (_, run) in PARTS {
            run(2);
        }
    }
}
