//! The grammar of conversation ids and client message ids.

/// `world`, `group_{id}` or `single_{lo}_{hi}` with the smaller user id first. Ids are decimal, above 0,
/// without leading zeros and within 64 bits, so that each conversation has exactly one spelling.
pub(crate) fn is_conversation_id(text: &str) -> bool {
    if text == "world" {
        return true;
    }
    if let Some(id) = text.strip_prefix("group_") {
        return parse_id(id).is_some();
    }
    text.strip_prefix("single_")
        .and_then(|pair| pair.split_once('_'))
        .and_then(|(lo, hi)| Some((parse_id(lo)?, parse_id(hi)?)))
        .is_some_and(|(lo, hi)| lo < hi)
}

/// A user, message or group id as JSON and paths carry it.
pub(crate) fn parse_id(text: &str) -> Option<u64> {
    let canonical =
        matches!(text.as_bytes(), [b'1'..=b'9', rest @ ..] if rest.iter().all(u8::is_ascii_digit));
    if canonical { text.parse().ok() } else { None }
}

/// `[A-Za-z0-9_-]{1,64}`.
pub(crate) fn is_client_msg_id(text: &str) -> bool {
    matches!(text.len(), 1..=64)
        && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conversation_ids() {
        let good =
            ["world", "group_1", "group_18446744073709551615", "single_1_2", "single_9_10", "single_99_100"];
        let bad = [
            "",
            "World",
            "world ",
            "group_",
            "group_0",
            "group_01",
            "group_+1",
            "group_18446744073709551616",
            "group_1_2",
            "single_2_1",
            "single_1_1",
            "single_1",
            "single_1_",
            "single__1",
            "single_1_2_3",
            "single_01_2",
            "single_-1_2",
            "single_1_2\n",
            "solo_1",
        ];
        good.iter().for_each(|id| assert!(is_conversation_id(id), "{id:?} is one"));
        bad.iter().for_each(|id| assert!(!is_conversation_id(id), "{id:?} is none"));
    }

    #[test]
    fn client_message_ids() {
        let longest = "x".repeat(64);
        for id in ["a", "A-b_9", longest.as_str()] {
            assert!(is_client_msg_id(id), "{id:?} is one");
        }
        let too_long = "x".repeat(65);
        for id in ["", "a b", "é", "a.b", "a\n", too_long.as_str()] {
            assert!(!is_client_msg_id(id), "{id:?} is none");
        }
    }
}
