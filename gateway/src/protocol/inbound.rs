//! Frames that clients send, parsed and checked; pure.

use std::{borrow::Cow, fmt};

use gochat_infra::errors::{Code, Error};
use gochat_proto::common::v1::{Head, MessageType};
use serde::{
    Deserialize, Deserializer,
    de::{self, MapAccess, Visitor},
};
use serde_json::value::RawValue;

use super::{
    conversation::{is_client_msg_id, is_conversation_id},
    envelope::{self, Envelope},
};

/// Bounds on what one frame may ask for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FrameLimits {
    pub(crate) content_max_bytes: usize,
    pub(crate) heads_max: usize,
    pub(crate) page_max: u32,
}

#[derive(Debug, PartialEq)]
pub(crate) enum Inbound<'a> {
    Send(SendMessage<'a>),
    Heads(Heads),
    Sync(Sync),
    MarkRead(MarkRead),
    Auth(Auth<'a>),
    Ping,
    Pong,
}

/// Its fields are the right JSON types, nothing more: see [`SendMessage::check`].
#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct SendMessage<'a> {
    #[serde(borrow)]
    pub(crate) conversation_id: Cow<'a, str>,
    #[serde(borrow)]
    pub(crate) content: Cow<'a, str>,
    #[serde(borrow, default)]
    pub(crate) message_type: Option<Cow<'a, str>>,
    #[serde(borrow)]
    pub(crate) client_msg_id: Cow<'a, str>,
    /// What is wrong with the data when only its names could be read.
    #[serde(skip)]
    fault: Option<String>,
}

/// What the client has; with `page_limit` it also wants the first page of each conversation that changed.
#[derive(Debug, PartialEq)]
pub(crate) struct Heads {
    pub(crate) known: Vec<Head>,
    pub(crate) page_limit: Option<u32>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Sync {
    pub(crate) conversation_id: String,
    #[serde(default)]
    pub(crate) after_seq: u64,
    /// The page size of the server when absent.
    #[serde(default)]
    pub(crate) limit: Option<u32>,
}

#[derive(Debug, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct MarkRead {
    pub(crate) conversation_id: String,
    pub(crate) seq_id: u64,
}

/// A newer access token of the same user and device.
#[derive(Debug, PartialEq, Deserialize)]
pub(crate) struct Auth<'a> {
    #[serde(borrow)]
    pub(crate) token: Cow<'a, str>,
}

/// Reads the data of a frame. An error is the client's, and is answered with an `error` frame; a bad
/// send-message whose clientMsgId is sound passes here and is found by [`SendMessage::check`], so that it can be
/// answered with a final ack.
pub(crate) fn parse<'a>(envelope: &Envelope<'a>, limits: &FrameLimits) -> Result<Inbound<'a>, Error> {
    match envelope.kind.as_ref() {
        "send-message" => {
            let message = data(envelope).or_else(|fault| named(envelope, fault))?;
            if !is_client_msg_id(&message.client_msg_id) {
                return Err(invalid("clientMsgId must be 1 to 64 of the characters A-Z a-z 0-9 _ -"));
            }
            Ok(Inbound::Send(message))
        }
        "heads" => heads(data(envelope)?, limits).map(Inbound::Heads),
        "sync" => {
            let mut sync: Sync = data(envelope)?;
            check_conversation(&sync.conversation_id)?;
            sync.limit = page_limit("limit", sync.limit, limits)?;
            Ok(Inbound::Sync(sync))
        }
        "mark-read" => {
            let mark: MarkRead = data(envelope)?;
            check_conversation(&mark.conversation_id)?;
            Ok(Inbound::MarkRead(mark))
        }
        "auth" => data(envelope).map(Inbound::Auth),
        "ping" => Ok(Inbound::Ping),
        "pong" => Ok(Inbound::Pong),
        other => {
            let shown: String = other.chars().take(40).collect();
            Err(invalid(format!("this server has no frame of type {shown:?}")))
        }
    }
}

impl SendMessage<'_> {
    /// The message's type when everything about it is in order. The error is final: such a message is never
    /// stored.
    pub(crate) fn check(&self, limits: &FrameLimits) -> Result<MessageType, Error> {
        if let Some(fault) = &self.fault {
            return Err(invalid(fault));
        }
        check_conversation(&self.conversation_id)?;
        if self.content.is_empty() {
            return Err(invalid("content must not be empty"));
        }
        if self.content.len() > limits.content_max_bytes {
            let most = limits.content_max_bytes;
            return Err(Error::new(Code::TooLarge, format!("content must not be longer than {most} bytes")));
        }
        match self.message_type.as_deref() {
            None | Some("text") => Ok(MessageType::Text),
            Some("image") => Ok(MessageType::Image),
            Some("file") => Ok(MessageType::File),
            Some("system") => Err(invalid("messageType system is the server's own")),
            Some(_) => Err(invalid("messageType must be text, image or file")),
        }
    }
}

fn heads(wire: HeadsWire<'_>, limits: &FrameLimits) -> Result<Heads, Error> {
    let known = wire.conversations.0;
    if known.len() > limits.heads_max {
        let most = limits.heads_max;
        return Err(Error::new(
            Code::TooLarge,
            format!("conversations must not be more than {most} in a frame"),
        ));
    }
    known.iter().try_for_each(|(id, _)| check_conversation(id))?;
    let page_limit = page_limit("pageLimit", wire.page_limit, limits)?;
    let known =
        known.into_iter().map(|(id, last_seq)| Head { conversation_id: id.into_owned(), last_seq }).collect();
    Ok(Heads { known, page_limit })
}

/// A page size above the server's is lowered to it: the answer says `hasMore`.
fn page_limit(name: &str, asked: Option<u32>, limits: &FrameLimits) -> Result<Option<u32>, Error> {
    match asked {
        Some(0) => Err(invalid(format!("{name} must be 1 or more"))),
        Some(asked) => Ok(Some(asked.min(limits.page_max))),
        None => Ok(None),
    }
}

fn check_conversation(id: &str) -> Result<(), Error> {
    if is_conversation_id(id) {
        return Ok(());
    }
    Err(invalid(
        "conversationId must be world, group_{id} or single_{lo}_{hi} with the smaller user id first",
    ))
}

fn data<'a, T: Deserialize<'a>>(envelope: &Envelope<'a>) -> Result<T, Error> {
    if !envelope::is_object(envelope.data) {
        return Err(invalid(format!("data of {} must be a JSON object", envelope.kind)));
    }
    serde_json::from_str(envelope.data)
        .map_err(|error| invalid(format!("data of {}: {}", envelope.kind, envelope::sentence(&error))))
}

/// A message whose data can't be read but for its `clientMsgId`: a number as content, half of a surrogate pair. Without a
/// final answer that names it, its client would send it again for ever.
fn named<'a>(envelope: &Envelope<'a>, fault: Error) -> Result<SendMessage<'a>, Error> {
    let text = |member: Option<&RawValue>| {
        member.and_then(|json| serde_json::from_str::<String>(json.get()).ok()).map(Cow::Owned)
    };
    let Ok(names) = data::<Names<'a>>(envelope) else { return Err(fault) };
    let Some(client_msg_id) = text(names.client_msg_id) else { return Err(fault) };
    Ok(SendMessage {
        conversation_id: text(names.conversation_id).unwrap_or_default(),
        content: Cow::Borrowed(""),
        message_type: None,
        client_msg_id,
        fault: Some(fault.message),
    })
}

/// What a message's ack calls it by, whatever the rest of the data is.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Names<'a> {
    #[serde(borrow, default)]
    conversation_id: Option<&'a RawValue>,
    #[serde(borrow, default)]
    client_msg_id: Option<&'a RawValue>,
}

fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidInput, message)
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HeadsWire<'a> {
    #[serde(borrow, default)]
    conversations: Known<'a>,
    #[serde(default)]
    page_limit: Option<u32>,
}

/// The members of an object in their order. The frame's size bounds their number.
#[derive(Default)]
struct Known<'a>(Vec<(Cow<'a, str>, u64)>);

impl<'de: 'a, 'a> Deserialize<'de> for Known<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Vec<(Cow<'de, str>, u64)>;
            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("conversations as an object of conversation id and last seq")
            }
            fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
                let mut members = Vec::new();
                while let Some(Key(key)) = map.next_key()? {
                    let value = map.next_value().map_err(|error: M::Error| {
                        de::Error::custom(format_args!("last seq of {key:?}: {error}"))
                    })?;
                    members.push((key, value));
                }
                Ok(members)
            }
        }
        deserializer.deserialize_map(Members).map(Known)
    }
}

/// `Cow<str>` alone would always copy when it is a map's key.
#[derive(Deserialize)]
struct Key<'a>(#[serde(borrow)] Cow<'a, str>);

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: FrameLimits = FrameLimits { content_max_bytes: 10, heads_max: 2, page_max: 50 };

    fn parsed(text: &str) -> Result<Inbound<'_>, Error> {
        parse(&envelope::parse(text).expect("a sound envelope"), &LIMITS)
    }

    fn message_error(text: &str) -> Option<u32> {
        match parsed(text).expect("a sound frame") {
            Inbound::Send(message) => message.check(&LIMITS).err().map(|error| error.code as u32),
            other => panic!("{other:?} is no send-message"),
        }
    }

    #[test]
    fn frames_that_are_read() {
        let head = |id: &str, last_seq| Head { conversation_id: id.to_owned(), last_seq };
        let check = |text: &str, expect: Inbound<'_>| assert_eq!(parsed(text).expect(text), expect, "{text}");
        check(r#"{"type":"ping"}"#, Inbound::Ping);
        check(r#"{"type":"pong","data":{"x":1}}"#, Inbound::Pong);
        check(
            r#"{"type":"heads","data":{"conversations":{"world":5,"group_7":0},"pageLimit":500}}"#,
            Inbound::Heads(Heads { known: vec![head("world", 5), head("group_7", 0)], page_limit: Some(50) }),
        );
        check(r#"{"type":"heads"}"#, Inbound::Heads(Heads { known: vec![], page_limit: None }));
        check(
            r#"{"type":"sync","data":{"conversationId":"world","afterSeq":3,"limit":7,"new":1}}"#,
            Inbound::Sync(Sync { conversation_id: "world".into(), after_seq: 3, limit: Some(7) }),
        );
        check(
            r#"{"type":"sync","data":{"conversationId":"world"}}"#,
            Inbound::Sync(Sync { conversation_id: "world".into(), after_seq: 0, limit: None }),
        );
        check(
            r#"{"type":"mark-read","data":{"conversationId":"group_1","seqId":9}}"#,
            Inbound::MarkRead(MarkRead { conversation_id: "group_1".into(), seq_id: 9 }),
        );
    }

    #[test]
    fn frames_that_are_refused() {
        let check = |text: &str, code: Code, word: &str| {
            let error = parsed(text).expect_err(text);
            assert_eq!(error.code, code, "{text}");
            assert!(error.message.contains(word), "{text}: {:?} should speak of {word:?}", error.message);
        };
        use Code::{InvalidInput, TooLarge};
        check(r#"{"type":"subscribe"}"#, InvalidInput, "subscribe");
        check(r#"{"type":"sync","data":{}}"#, InvalidInput, "conversationId");
        check(r#"{"type":"sync","data":{"conversationId":"x"}}"#, InvalidInput, "conversationId");
        check(r#"{"type":"sync","data":{"conversationId":"world","limit":0}}"#, InvalidInput, "limit");
        check(r#"{"type":"sync","data":[]}"#, InvalidInput, "sync");
        check(r#"{"type":"sync","data":["world",0,7]}"#, InvalidInput, "must be a JSON object");
        check(r#"{"type":"heads","data":[]}"#, InvalidInput, "must be a JSON object");
        check(r#"{"type":"mark-read","data":{"conversationId":"world","seqId":-1}}"#, InvalidInput, "-1");
        check(r#"{"type":"heads","data":{"conversations":{"world":"5"}}}"#, InvalidInput, "world");
        check(r#"{"type":"heads","data":{"conversations":{"w":5}}}"#, InvalidInput, "conversationId");
        check(
            r#"{"type":"heads","data":{"conversations":{"world":1,"group_1":1,"group_2":1}}}"#,
            TooLarge,
            "more than 2",
        );
        for bad in [
            r#"{}"#,
            r#"{"content":"x"}"#,
            r#"{"clientMsgId":1}"#,
            r#"{"clientMsgId":"a","clientMsgId":"b"}"#,
        ] {
            assert!(parsed(&format!(r#"{{"type":"send-message","data":{bad}}}"#)).is_err(), "{bad}");
        }
        check(
            r#"{"type":"send-message","data":{"conversationId":"world","content":"x","clientMsgId":"a b"}}"#,
            InvalidInput,
            "clientMsgId",
        );
    }

    #[test]
    fn messages_that_are_final_when_bad() {
        let check = |conversation: &str, content: &str, kind: &str, expect: Option<u32>| {
            let text = format!(
                r#"{{"type":"send-message","data":{{"conversationId":"{conversation}","content":"{content}",
                "messageType":"{kind}","clientMsgId":"a"}}}}"#
            );
            assert_eq!(message_error(&text), expect, "{text}");
        };
        check("world", "hi", "text", None);
        check("world", "hi", "image", None);
        check("single_1_2", "0123456789", "file", None);
        check("world", "01234567890", "text", Some(1011));
        check("world", "ééééé", "text", None);
        check("world", "éééééé", "text", Some(1011));
        check("world", "", "text", Some(1000));
        check("world", "hi", "system", Some(1000));
        check("world", "hi", "video", Some(1000));
        check("single_2_1", "hi", "text", Some(1000));
        check("world", r"half an emoji: \ud83d", "text", Some(1000));
    }

    #[test]
    fn messages_that_are_final_by_their_id_alone() {
        let check = |rest: &str, conversation: &str| {
            let text = format!(r#"{{"type":"send-message","data":{{{rest}"clientMsgId":"a"}}}}"#);
            assert_eq!(message_error(&text), Some(1000), "{text}");
            let Ok(Inbound::Send(message)) = parsed(&text) else { panic!("{text}") };
            assert_eq!((&*message.client_msg_id, &*message.conversation_id), ("a", conversation), "{text}");
        };
        check("", "");
        check(r#""content":"x","#, "");
        check(r#""conversationId":["world"],"content":"x","#, "");
        check(r#""conversationId":"world","content":7,"#, "world");
        check(r#""conversationId":"world","content":"x","messageType":1,"#, "world");
        check(r#""conversationId":"world","content":"\udc00","#, "world");
    }

    #[test]
    fn a_message_without_escapes_is_borrowed() {
        let text =
            r#"{"type":"send-message","data":{"conversationId":"world","content":"hi","clientMsgId":"a"}}"#;
        let Inbound::Send(message) = parsed(text).expect("a sound frame") else { panic!("no send-message") };
        assert!(matches!(message.content, Cow::Borrowed("hi")));
        assert!(matches!(message.conversation_id, Cow::Borrowed("world")));
        assert_eq!(message.check(&LIMITS).expect("sound"), MessageType::Text);
    }
}
