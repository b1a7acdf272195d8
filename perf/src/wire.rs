//! The client's side of the wire: JSON frames down are parsed, frames up are written. Written for this
//! tool from the protocol's page alone, so that a mistake in the server's own code cannot hide here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::time::{SystemTime, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::value::RawValue;

/// A frame from the server, as far as a load client needs it.
#[derive(Debug)]
pub(crate) enum Incoming<'a> {
    Hello {
        heartbeat_ms: u64,
        heads_interval_ms: u64,
    },
    Ack(Ack<'a>),
    Message(NewMessage<'a>),
    Heads(Vec<Head<'a>>),
    Page {
        page: Page<'a>,
        id: Option<Cow<'a, str>>,
    },
    Resync {
        delay_ms: u64,
    },
    Gap(Gap<'a>),
    Error {
        error: ErrorBody<'a>,
        id: Option<Cow<'a, str>>,
    },
    /// Pong, receipts and whatever later versions add.
    Other,
}

#[derive(Debug, Deserialize)]
struct Envelope<'a> {
    #[serde(rename = "type", borrow)]
    kind: Cow<'a, str>,
    #[serde(borrow, default)]
    data: Option<&'a RawValue>,
    #[serde(borrow, default)]
    id: Option<Cow<'a, str>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum AckStatus {
    Accepted,
    Stored,
    Rejected,
    Retry,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Ack<'a> {
    #[serde(borrow)]
    pub(crate) temp_message_id: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) message_id: Option<Cow<'a, str>>,
    #[serde(default)]
    pub(crate) seq_id: Option<u64>,
    pub(crate) status: AckStatus,
    #[serde(default)]
    pub(crate) code: Option<u32>,
    #[serde(default)]
    pub(crate) retry_after_ms: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct NewMessage<'a> {
    #[serde(borrow)]
    pub(crate) message_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) conversation_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) sender: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) content: Cow<'a, str>,
    pub(crate) seq_id: u64,
    #[serde(borrow, default)]
    pub(crate) client_msg_id: Option<Cow<'a, str>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Head<'a> {
    #[serde(borrow)]
    pub(crate) conversation_id: Cow<'a, str>,
    pub(crate) last_seq: u64,
}

/// Messages that were left out for a slow reader.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Gap<'a> {
    #[serde(borrow)]
    pub(crate) conversation_id: Cow<'a, str>,
    pub(crate) from_seq: u64,
    pub(crate) to_seq: u64,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Page<'a> {
    #[serde(borrow)]
    pub(crate) conversation_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) messages: Vec<NewMessage<'a>>,
    pub(crate) has_more: bool,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct ErrorBody<'a> {
    #[serde(default)]
    pub(crate) code: u32,
    #[serde(borrow, default)]
    pub(crate) message: Cow<'a, str>,
    /// The request may come again after this.
    #[serde(default)]
    pub(crate) retry_after_ms: Option<u64>,
}

/// Parses one text frame. An unknown type is `Other`; a known type with other fields is an error.
pub(crate) fn parse(text: &str) -> Result<Incoming<'_>, serde_json::Error> {
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase", default)]
    struct Hello {
        heartbeat_ms: u64,
        heads_interval_ms: u64,
    }
    impl Default for Hello {
        fn default() -> Self {
            Hello { heartbeat_ms: 30_000, heads_interval_ms: 300_000 }
        }
    }
    #[derive(Deserialize)]
    struct Heads<'a> {
        #[serde(borrow)]
        changed: Vec<Head<'a>>,
    }
    #[derive(Deserialize)]
    #[serde(rename_all = "camelCase")]
    struct Resync {
        #[serde(default)]
        delay_ms: u64,
    }
    let envelope: Envelope<'_> = serde_json::from_str(text)?;
    let data = envelope.data.map_or("{}", RawValue::get);
    Ok(match &*envelope.kind {
        "message-ack" => Incoming::Ack(serde_json::from_str(data)?),
        "new-message" => Incoming::Message(serde_json::from_str(data)?),
        "sync-page" => Incoming::Page { page: serde_json::from_str(data)?, id: envelope.id },
        "heads" => Incoming::Heads(serde_json::from_str::<Heads<'_>>(data)?.changed),
        "hello" => {
            let hello: Hello = serde_json::from_str(data)?;
            Incoming::Hello { heartbeat_ms: hello.heartbeat_ms, heads_interval_ms: hello.heads_interval_ms }
        }
        "resync" => Incoming::Resync { delay_ms: serde_json::from_str::<Resync>(data)?.delay_ms },
        "gap" => Incoming::Gap(serde_json::from_str(data)?),
        "error" => Incoming::Error { error: serde_json::from_str(data)?, id: envelope.id },
        _ => Incoming::Other,
    })
}

fn unix_ms() -> u128 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis())
}

/// `content` and ids here hold only characters that JSON takes as they are.
pub(crate) fn send_message(conversation: &str, client_msg_id: &str, content: &str) -> String {
    let mut text = String::with_capacity(160 + conversation.len() + client_msg_id.len() + content.len());
    let _ = write!(
        text,
        r#"{{"type":"send-message","data":{{"conversationId":"{conversation}","content":"{content}","messageType":"text","clientMsgId":"{client_msg_id}"}},"timestamp":{}}}"#,
        unix_ms()
    );
    text
}

/// Request ids: an `error` tells by them what it answers.
pub(crate) const HEADS_ID: &str = "heads";
pub(crate) const SYNC_ID: &str = "sync";

/// `have` → the last seq of each conversation; `page_limit` asks for the first page of what changed.
pub(crate) fn heads<'a>(have: impl Iterator<Item = (&'a str, u64)>, page_limit: Option<u32>) -> String {
    let mut text = format!(r#"{{"type":"heads","id":"{HEADS_ID}","data":{{"conversations":{{"#);
    for (index, (conversation, seq)) in have.enumerate() {
        let comma = if index == 0 { "" } else { "," };
        let _ = write!(text, r#"{comma}"{conversation}":{seq}"#);
    }
    text.push('}');
    if let Some(limit) = page_limit {
        let _ = write!(text, r#","pageLimit":{limit}"#);
    }
    let _ = write!(text, r#"}},"timestamp":{}}}"#, unix_ms());
    text
}

pub(crate) fn sync(conversation: &str, after_seq: u64, limit: u32, id: &str) -> String {
    format!(
        r#"{{"type":"sync","id":"{id}","data":{{"conversationId":"{conversation}","afterSeq":{after_seq},"limit":{limit}}},"timestamp":{}}}"#,
        unix_ms()
    )
}

pub(crate) fn ping() -> String {
    format!(r#"{{"type":"ping","data":{{}},"timestamp":{}}}"#, unix_ms())
}

/// The single conversation of two users: the smaller id first.
pub(crate) fn single_conversation(a: u64, b: u64) -> String {
    format!("single_{}_{}", a.min(b), a.max(b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_down_are_read() {
        let ack = r#"{"type":"message-ack","data":{"tempMessageId":"r-1-2","conversationId":"single_1_2","messageId":"456","seqId":7,"status":"stored"},"timestamp":1}"#;
        let Incoming::Ack(ack) = parse(ack).unwrap() else { panic!("not an ack") };
        assert_eq!(
            (ack.status, ack.seq_id, ack.message_id.as_deref()),
            (AckStatus::Stored, Some(7), Some("456"))
        );
        let page = r#"{"type":"sync-page","id":"final-3","data":{"conversationId":"c","messages":[{"messageId":"1","conversationId":"c","sender":"9","content":"a \"b\"","messageType":"text","seqId":4,"clientMsgId":"x","createdAt":5}],"hasMore":true,"epoch":1},"timestamp":1}"#;
        let Incoming::Page { page, id } = parse(page).unwrap() else { panic!("not a page") };
        assert_eq!(
            (page.messages[0].content.as_ref(), page.has_more, id.as_deref()),
            ("a \"b\"", true, Some("final-3"))
        );
        assert!(matches!(parse(r#"{"type":"pong","data":{},"timestamp":1}"#), Ok(Incoming::Other)));
        assert!(matches!(
            parse(r#"{"type":"resync","data":{"delayMs":9}}"#),
            Ok(Incoming::Resync { delay_ms: 9 })
        ));
        assert!(parse(r#"{"type":"message-ack","data":{}}"#).is_err());
        assert!(parse("not json").is_err());
    }

    #[test]
    fn frames_up_are_json() {
        let have = [("single_1_2", 3), ("world", 9)];
        let up = [
            send_message("single_1_2", "r-1-2", "hello"),
            heads(have.into_iter(), Some(50)),
            heads(have.into_iter(), None),
            sync("world", 3, 100, "final-3"),
            ping(),
        ];
        for text in up {
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert!(
                value["type"].is_string() && value["data"].is_object() && value["timestamp"].is_u64(),
                "{text}"
            );
        }
        assert_eq!(single_conversation(9, 4), "single_4_9");
    }
}
