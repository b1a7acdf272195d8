//! Frames that the server sends, rendered; pure. docs/protocol.md shows each of them.

use gochat_infra::errors::Error;
use gochat_proto::{
    common::v1::{Head, Message, MessageType},
    queue::v1::{Ack, ConversationUpdated, Receipt, ack, conversation_updated::Change},
};

use super::{
    envelope::render,
    json::{self, Object},
};

/// The client protocol's version, in `hello` and in the subprotocol's name.
pub(crate) const PROTOCOL_VERSION: u64 = 1;

/// What `hello` tells.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hello<'a> {
    pub(crate) session_id: &'a str,
    pub(crate) user_id: u64,
    pub(crate) device_id: &'a str,
    pub(crate) heartbeat_ms: u64,
    pub(crate) heads_interval_ms: u64,
    pub(crate) max_message_bytes: usize,
    pub(crate) epoch: u64,
}

pub(crate) fn hello(hello: &Hello<'_>, now_ms: i64) -> Vec<u8> {
    render("hello", None, now_ms, |data| {
        data.u64("protocol", PROTOCOL_VERSION);
        data.str("sessionId", hello.session_id);
        data.id("userId", hello.user_id);
        data.str("deviceId", hello.device_id);
        data.time("serverTime", now_ms);
        data.u64("heartbeatMs", hello.heartbeat_ms);
        data.u64("maxMessageBytes", hello.max_message_bytes as u64);
        data.u64("epoch", hello.epoch);
        data.u64("headsIntervalMs", hello.heads_interval_ms);
    })
}

/// Which send an ack answers.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Answered<'a> {
    pub(crate) client_msg_id: &'a str,
    pub(crate) conversation_id: &'a str,
    /// The frame's `id`, as JSON.
    pub(crate) id: Option<&'a str>,
}

fn ack(
    answered: &Answered<'_>,
    now_ms: i64,
    status: &'static str,
    rest: impl FnOnce(&mut Object<'_>),
) -> Vec<u8> {
    render("message-ack", answered.id, now_ms, |data| {
        data.str("tempMessageId", answered.client_msg_id);
        data.str("conversationId", answered.conversation_id);
        data.str("status", status);
        rest(data);
    })
}

/// Durably queued; `stored` or `rejected` follows.
pub(crate) fn accepted(answered: &Answered<'_>, now_ms: i64) -> Vec<u8> {
    ack(answered, now_ms, "accepted", |_| {})
}

/// Outcome unknown: to be sent again after `retry_after_ms`, in order.
pub(crate) fn retry(answered: &Answered<'_>, now_ms: i64, code: u32, retry_after_ms: u64) -> Vec<u8> {
    ack(answered, now_ms, "retry", |data| {
        data.u64("code", code.into());
        data.u64("retryAfterMs", retry_after_ms);
    })
}

/// Never stored, and why.
pub(crate) fn rejected(answered: &Answered<'_>, now_ms: i64, error: &Error) -> Vec<u8> {
    ack(answered, now_ms, "rejected", |data| code_name_message(data, error))
}

/// The pipeline's final answer. None when its status is one that this server doesn't know.
pub(crate) fn final_ack(
    ack_of: &Ack,
    rejection: impl Fn(u32, &str) -> Error,
    now_ms: i64,
) -> Option<Vec<u8>> {
    let answered =
        Answered { client_msg_id: &ack_of.client_msg_id, conversation_id: &ack_of.conversation_id, id: None };
    match ack_of.status() {
        ack::Status::Stored => Some(ack(&answered, now_ms, "stored", |data| {
            data.id("messageId", ack_of.message_id);
            data.u64("seqId", ack_of.seq_id);
        })),
        ack::Status::Rejected => Some(rejected(&answered, now_ms, &rejection(ack_of.code, &ack_of.reason))),
        ack::Status::Unspecified => None,
    }
}

pub(crate) fn new_message(message: &Message, now_ms: i64) -> Vec<u8> {
    render("new-message", None, now_ms, |data| message_members(data, message))
}

/// A message as it reads everywhere: live, in a page and over REST.
pub(crate) fn message_members(data: &mut Object<'_>, message: &Message) {
    data.id("messageId", message.message_id);
    data.str("conversationId", &message.conversation_id);
    data.id("sender", message.sender_id);
    data.str("content", &message.content);
    data.str("messageType", message_type(message.message_type()));
    data.u64("seqId", message.seq_id);
    data.str("clientMsgId", &message.client_msg_id);
    data.time("createdAt", message.created_at_ms);
}

fn message_type(kind: MessageType) -> &'static str {
    match kind {
        MessageType::Unspecified | MessageType::Text => "text",
        MessageType::Image => "image",
        MessageType::File => "file",
        MessageType::System => "system",
    }
}

/// Which conversations changed, last changed first. `more`: others did too, and the client asks again.
pub(crate) fn heads(id: Option<&str>, changed: &[Head], more: bool, epoch: u64, now_ms: i64) -> Vec<u8> {
    render("heads", id, now_ms, |data| {
        data.array("changed", changed, |out, head| {
            json::object(out, |entry| {
                entry.str("conversationId", &head.conversation_id);
                entry.u64("lastSeq", head.last_seq);
            });
        });
        data.u64("epoch", epoch);
        if more {
            data.bool("more", true);
        }
    })
}

/// How many of these heads fit a frame of `max_bytes`.
pub(crate) fn heads_that_fit(changed: &[Head], max_bytes: usize) -> usize {
    // {"conversationId":"","lastSeq":}, with a seq of up to 20 digits, and what stands around them all.
    const ENTRY_BYTES: usize = 54;
    const FRAME_BYTES: usize = 256;
    let mut bytes = FRAME_BYTES;
    let fits = |head: &&Head| {
        bytes += head.conversation_id.len() + ENTRY_BYTES;
        bytes <= max_bytes
    };
    changed.iter().take_while(fits).count()
}

/// One page of history.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Page<'a> {
    pub(crate) conversation_id: &'a str,
    pub(crate) messages: &'a [Message],
    pub(crate) has_more: bool,
    pub(crate) epoch: u64,
}

pub(crate) fn sync_page(id: Option<&str>, page: &Page<'_>, now_ms: i64) -> Vec<u8> {
    render("sync-page", id, now_ms, |data| {
        data.str("conversationId", page.conversation_id);
        data.array("messages", page.messages, |out, message| {
            json::object(out, |entry| message_members(entry, message));
        });
        data.bool("hasMore", page.has_more);
        data.u64("epoch", page.epoch);
    })
}

pub(crate) fn receipt(receipt: &Receipt, now_ms: i64) -> Vec<u8> {
    render("receipt", None, now_ms, |data| {
        data.str("conversationId", &receipt.conversation_id);
        data.id("userId", receipt.reader_id);
        data.u64("seqId", receipt.read_seq);
    })
}

/// The answer to mark-read: where the reader's own pointer stands now.
pub(crate) fn own_receipt(id: &str, conversation_id: &str, user_id: u64, seq: u64, now_ms: i64) -> Vec<u8> {
    render("receipt", Some(id), now_ms, |data| {
        data.str("conversationId", conversation_id);
        data.id("userId", user_id);
        data.u64("seqId", seq);
    })
}

/// None when the change is one that this server doesn't know.
pub(crate) fn conversation_updated(update: &ConversationUpdated, now_ms: i64) -> Option<Vec<u8>> {
    let change = match update.change() {
        Change::Joined => "joined",
        Change::Left => "left",
        Change::Members => "members",
        Change::Unspecified => return None,
    };
    Some(render("conversation-updated", None, now_ms, |data| {
        data.str("conversationId", &update.conversation_id);
        data.str("change", change);
    }))
}

pub(crate) fn resync(delay_ms: u64, now_ms: i64) -> Vec<u8> {
    render("resync", None, now_ms, |data| data.u64("delayMs", delay_ms))
}

/// Messages that were left out for a slow reader.
pub(crate) fn gap(conversation_id: &str, from_seq: u64, to_seq: u64, now_ms: i64) -> Vec<u8> {
    render("gap", None, now_ms, |data| {
        data.str("conversationId", conversation_id);
        data.u64("fromSeq", from_seq);
        data.u64("toSeq", to_seq);
    })
}

/// The answer to `auth`: when the token that the socket lives by now ends.
pub(crate) fn auth(id: Option<&str>, expires_at_ms: u64, now_ms: i64) -> Vec<u8> {
    render("auth", id, now_ms, |data| data.u64("expiresAt", expires_at_ms))
}

/// Why this device is put out; the close follows.
pub(crate) fn kicked(reason: &'static str, message: &str, now_ms: i64) -> Vec<u8> {
    render("kicked", None, now_ms, |data| {
        data.str("reason", reason);
        data.str("message", message);
    })
}

pub(crate) fn pong(id: Option<&str>, now_ms: i64) -> Vec<u8> {
    render("pong", id, now_ms, |_| {})
}

pub(crate) fn error(id: Option<&str>, error: &Error, now_ms: i64) -> Vec<u8> {
    render("error", id, now_ms, |data| {
        code_name_message(data, error);
        match &error.details {
            Some(details) => data.raw("details", details.to_string().as_bytes()),
            None => data.raw("details", b"null"),
        }
        if let Some(after_ms) = error.retry_after_ms {
            data.u64("retryAfterMs", after_ms);
        }
    })
}

fn code_name_message(data: &mut Object<'_>, error: &Error) {
    data.u64("code", u64::from(error.code.number()));
    data.str("name", error.code.name());
    data.str("message", error.public_message());
}

#[cfg(test)]
mod tests {
    use gochat_infra::errors::Code;

    use super::*;

    fn check(frame: Vec<u8>, expect: &str) {
        assert_eq!(String::from_utf8(frame).expect("UTF-8"), expect);
        serde_json::from_str::<serde_json::Value>(expect).expect("valid JSON");
    }

    fn message() -> Message {
        Message {
            message_id: 456,
            conversation_id: "single_1_2".into(),
            sender_id: 1,
            content: "hi \"you\"\n".into(),
            message_type: MessageType::Text as i32,
            seq_id: 7,
            client_msg_id: "c-1".into(),
            created_at_ms: 1_700_000_000_000,
        }
    }

    #[test]
    fn hello_and_pong() {
        let told = Hello {
            session_id: "s1",
            user_id: 123,
            device_id: "d1",
            heartbeat_ms: 30_000,
            heads_interval_ms: 300_000,
            max_message_bytes: 8192,
            epoch: 1,
        };
        check(
            hello(&told, 5),
            r#"{"type":"hello","data":{"protocol":1,"sessionId":"s1","userId":"123","deviceId":"d1","serverTime":5,"heartbeatMs":30000,"maxMessageBytes":8192,"epoch":1,"headsIntervalMs":300000},"timestamp":5}"#,
        );
        check(pong(None, 5), r#"{"type":"pong","data":{},"timestamp":5}"#);
        check(pong(Some("7"), 5), r#"{"type":"pong","data":{},"id":7,"timestamp":5}"#);
    }

    #[test]
    fn acks() {
        let answered = Answered { client_msg_id: "c1", conversation_id: "world", id: None };
        check(
            accepted(&answered, 5),
            r#"{"type":"message-ack","data":{"tempMessageId":"c1","conversationId":"world","status":"accepted"},"timestamp":5}"#,
        );
        check(
            retry(&Answered { id: Some("\"c1\""), ..answered }, 5, 1013, 500),
            r#"{"type":"message-ack","data":{"tempMessageId":"c1","conversationId":"world","status":"retry","code":1013,"retryAfterMs":500},"id":"c1","timestamp":5}"#,
        );
        check(
            rejected(&answered, 5, &Error::new(Code::PermissionDenied, "not a member")),
            r#"{"type":"message-ack","data":{"tempMessageId":"c1","conversationId":"world","status":"rejected","code":1002,"name":"permission-denied","message":"not a member"},"timestamp":5}"#,
        );
        let stored = Ack {
            client_msg_id: "c1".into(),
            conversation_id: "world".into(),
            status: ack::Status::Stored as i32,
            message_id: 456,
            seq_id: 7,
            ..Ack::default()
        };
        let none = |_: u32, _: &str| panic!("stored needs no error");
        check(
            final_ack(&stored, none, 5).expect("a frame"),
            r#"{"type":"message-ack","data":{"tempMessageId":"c1","conversationId":"world","status":"stored","messageId":"456","seqId":7},"timestamp":5}"#,
        );
        assert!(final_ack(&Ack { status: 77, ..stored }, none, 5).is_none());
    }

    #[test]
    fn messages_live_and_in_pages() {
        let members = r#"{"messageId":"456","conversationId":"single_1_2","sender":"1","content":"hi \"you\"\n","messageType":"text","seqId":7,"clientMsgId":"c-1","createdAt":1700000000000}"#;
        check(
            new_message(&message(), 5),
            &format!(r#"{{"type":"new-message","data":{members},"timestamp":5}}"#),
        );
        let messages = [message(), message()];
        let page = Page { conversation_id: "single_1_2", messages: &messages, has_more: true, epoch: 2 };
        check(
            sync_page(Some("1"), &page, 5),
            &format!(
                r#"{{"type":"sync-page","data":{{"conversationId":"single_1_2","messages":[{members},{members}],"hasMore":true,"epoch":2}},"id":1,"timestamp":5}}"#
            ),
        );
    }

    #[test]
    fn heads_are_cut_to_a_frame() {
        let head = |n: u64| Head { conversation_id: format!("group_{n}"), last_seq: u64::MAX };
        let changed: Vec<Head> = (0..100).map(head).collect();
        for max_bytes in [0, 300, 1000, 5000, 100_000] {
            let fitting = heads_that_fit(&changed, max_bytes);
            let frame = heads(Some("\"longest id\""), &changed[..fitting], true, 1, 5);
            assert!(fitting == 0 || frame.len() <= max_bytes, "{fitting} heads in {max_bytes}");
        }
        assert_eq!(heads_that_fit(&changed, 100_000), 100);
    }

    #[test]
    fn the_others() {
        let changed = [Head { conversation_id: "world".into(), last_seq: 9 }];
        check(
            heads(None, &changed, false, 1, 5),
            r#"{"type":"heads","data":{"changed":[{"conversationId":"world","lastSeq":9}],"epoch":1},"timestamp":5}"#,
        );
        check(
            heads(Some("1"), &[], true, 1, 5),
            r#"{"type":"heads","data":{"changed":[],"epoch":1,"more":true},"id":1,"timestamp":5}"#,
        );
        let read = Receipt { conversation_id: "world".into(), reader_id: 3, read_seq: 4, user_ids: vec![3] };
        check(
            receipt(&read, 5),
            r#"{"type":"receipt","data":{"conversationId":"world","userId":"3","seqId":4},"timestamp":5}"#,
        );
        check(
            own_receipt("9", "world", 3, 4, 5),
            r#"{"type":"receipt","data":{"conversationId":"world","userId":"3","seqId":4},"id":9,"timestamp":5}"#,
        );
        let update = ConversationUpdated {
            conversation_id: "group_1".into(),
            change: Change::Members as i32,
            user_ids: vec![],
        };
        check(
            conversation_updated(&update, 5).expect("a frame"),
            r#"{"type":"conversation-updated","data":{"conversationId":"group_1","change":"members"},"timestamp":5}"#,
        );
        assert!(conversation_updated(&ConversationUpdated { change: 0, ..update }, 5).is_none());
        check(auth(Some("1"), 9, 5), r#"{"type":"auth","data":{"expiresAt":9},"id":1,"timestamp":5}"#);
        check(
            kicked("banned", "this account is banned", 5),
            r#"{"type":"kicked","data":{"reason":"banned","message":"this account is banned"},"timestamp":5}"#,
        );
        check(
            gap("world", 3, 9, 5),
            r#"{"type":"gap","data":{"conversationId":"world","fromSeq":3,"toSeq":9},"timestamp":5}"#,
        );
        check(resync(250, 5), r#"{"type":"resync","data":{"delayMs":250},"timestamp":5}"#);
        check(
            error(Some("\"x\""), &Error::new(Code::RateLimited, "slow down").retry_after_ms(100), 5),
            r#"{"type":"error","data":{"code":1012,"name":"rate-limited","message":"slow down","details":null,"retryAfterMs":100},"id":"x","timestamp":5}"#,
        );
    }
}
