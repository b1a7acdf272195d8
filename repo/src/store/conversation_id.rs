//! The grammar of conversation ids: `single_{lo}_{hi}`, `group_{id}`, `world`.

/// What a conversation id names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ConversationId {
    /// Two users, the smaller id first.
    Single(u64, u64),
    /// A group, by its id.
    Group(u64),
    /// The conversation that everybody is in.
    World,
}

impl ConversationId {
    /// Only the one canonical spelling is accepted, or one conversation would have two names.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        if text == "world" {
            return Some(Self::World);
        }
        if let Some(id) = text.strip_prefix("group_") {
            return Some(Self::Group(parse_id(id)?));
        }
        let (lo, hi) = text.strip_prefix("single_")?.split_once('_')?;
        let (lo, hi) = (parse_id(lo)?, parse_id(hi)?);
        (lo < hi).then_some(Self::Single(lo, hi))
    }

    /// The other one of a single conversation.
    pub(crate) fn peer_of(self, user: u64) -> Option<u64> {
        match self {
            Self::Single(lo, hi) if lo == user => Some(hi),
            Self::Single(lo, hi) if hi == user => Some(lo),
            _ => None,
        }
    }
}

/// A positive 63-bit number without leading zeros or signs.
fn parse_id(text: &str) -> Option<u64> {
    let canonical = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    let id: u64 = text.parse().ok()?;
    (canonical && id <= i64::MAX as u64).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::ConversationId::{self, *};

    #[test]
    fn one_spelling_for_each_conversation() {
        let check = |text, expect| assert_eq!(ConversationId::parse(text), expect, "{text}");
        check("world", Some(World));
        check("group_7", Some(Group(7)));
        check("single_1_2", Some(Single(1, 2)));
        check("single_1_9223372036854775807", Some(Single(1, i64::MAX as u64)));
        for bad in [
            "",
            "World",
            "world ",
            "group_",
            "group_0",
            "group_07",
            "group_+7",
            "group_9223372036854775808",
            "single_2_1",
            "single_1_1",
            "single_1",
            "single_1_2_3",
            "single_01_2",
            "single__2",
        ] {
            check(bad, None);
        }
    }
}
