//! Page sizes and opaque cursors.
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::Invalid;
use super::conversation::{Conversation, parse_id};

/// Where a page of conversations begins: after the entry with this time and id.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ConversationCursor {
    pub updated_at_ms: i64,
    pub conversation_id: String,
}

/// 0 means the default; more than `max` is cut to it, since a smaller page is a good answer too.
pub(crate) fn limit(asked: u32, default: u32, max: u32) -> u32 {
    if asked == 0 { default.min(max) } else { asked.min(max) }
}

/// The cursor that continues after an entry.
pub(crate) fn encode_conversation(updated_at_ms: i64, conversation_id: &str) -> String {
    URL_SAFE_NO_PAD.encode(format!("{updated_at_ms}:{conversation_id}"))
}

/// Empty is the first page.
pub(crate) fn decode_conversation(cursor: &str) -> Result<ConversationCursor, Invalid> {
    if cursor.is_empty() {
        return Ok(ConversationCursor::default());
    }
    let read = || {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?;
        let (time, id) = text.split_once(':')?;
        Conversation::parse(id)?;
        Some(ConversationCursor { updated_at_ms: time.parse().ok()?, conversation_id: id.to_owned() })
    };
    read().ok_or_else(not_ours)
}

/// The cursor that continues after a member.
pub(crate) fn encode_member(user_id: u64) -> String {
    URL_SAFE_NO_PAD.encode(user_id.to_string())
}

/// Empty is the first page, hence 0.
pub(crate) fn decode_member(cursor: &str) -> Result<u64, Invalid> {
    if cursor.is_empty() {
        return Ok(0);
    }
    let read = || parse_id(&String::from_utf8(URL_SAFE_NO_PAD.decode(cursor).ok()?).ok()?);
    read().ok_or_else(not_ours)
}

fn not_ours() -> Invalid {
    Invalid::new("cursor", "This cursor is not one that the server gave out; begin at the first page.")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cursors_come_back_as_they_went() {
        let cursor = encode_conversation(1_700_000_000_123, "single_1_2");
        let expect =
            ConversationCursor { updated_at_ms: 1_700_000_000_123, conversation_id: "single_1_2".to_owned() };
        assert_eq!(decode_conversation(&cursor), Ok(expect));
        assert_eq!(decode_conversation(""), Ok(ConversationCursor::default()));
        assert_eq!(decode_member(&encode_member(77)), Ok(77));
        assert_eq!(decode_member(""), Ok(0));
        for wrong in ["!", "MTIz", "OmFiYw", &encode_conversation(1, "nonsense"), &encode_member(0)] {
            assert!(decode_conversation(wrong).is_err(), "{wrong}");
        }
        assert!(decode_member(&encode_member(0)).is_err());
    }

    #[test]
    fn limits() {
        assert_eq!((limit(0, 50, 100), limit(7, 50, 100), limit(1000, 50, 100)), (50, 7, 100));
    }
}
