//! Conversation ids: `single_{lo}_{hi}`, `group_{id}`, `world`.
use std::fmt;

/// The id of the conversation that everyone is in.
pub(crate) const WORLD: &str = "world";

/// What a conversation id stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Conversation {
    /// Two users; the smaller id first, so that a pair has exactly one conversation.
    Single { lo: u64, hi: u64 },
    /// The group of this id.
    Group(u64),
    /// Everyone.
    World,
}

impl Conversation {
    /// Reads an id in its only spelling; `None` for anything else (`single_2_1`, `group_007`, …).
    pub(crate) fn parse(id: &str) -> Option<Self> {
        if id == WORLD {
            return Some(Self::World);
        }
        if let Some(group) = id.strip_prefix("group_") {
            return Some(Self::Group(parse_id(group)?));
        }
        let (lo, hi) = id.strip_prefix("single_")?.split_once('_')?;
        let (lo, hi) = (parse_id(lo)?, parse_id(hi)?);
        (lo < hi).then_some(Self::Single { lo, hi })
    }

    /// False for those whom the id alone shuts out of a single conversation.
    pub(crate) fn may_include(self, user_id: u64) -> bool {
        match self {
            Self::Single { lo, hi } => user_id == lo || user_id == hi,
            Self::Group(_) | Self::World => true,
        }
    }
}

impl fmt::Display for Conversation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Single { lo, hi } => write!(f, "single_{lo}_{hi}"),
            Self::Group(id) => write!(f, "group_{id}"),
            Self::World => f.write_str(WORLD),
        }
    }
}

/// A decimal id without sign or leading zero, 1..=i64::MAX (databases keep ids as signed numbers).
pub(crate) fn parse_id(text: &str) -> Option<u64> {
    let plain = !text.starts_with('0') && text.bytes().all(|b| b.is_ascii_digit());
    let id: u64 = if plain { text.parse().ok()? } else { return None };
    (id <= i64::MAX as u64).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_has_exactly_one_spelling() {
        let check = |id: &str, expect: Option<Conversation>| {
            assert_eq!(Conversation::parse(id), expect, "{id:?}");
            if let Some(conversation) = expect {
                assert_eq!(conversation.to_string(), id);
            }
        };
        check("world", Some(Conversation::World));
        check("single_1_2", Some(Conversation::Single { lo: 1, hi: 2 }));
        check("group_7", Some(Conversation::Group(7)));
        check("group_9223372036854775807", Some(Conversation::Group(i64::MAX as u64)));
        for wrong in [
            "",
            "World",
            "world ",
            "single_2_1",
            "single_1_1",
            "single_0_1",
            "single_01_2",
            "single_1_2_3",
            "single_1",
            "single__2",
            "single_+1_2",
            "group_",
            "group_0",
            "group_x",
            "group_1 ",
            "group_9223372036854775808",
            "group_18446744073709551616",
        ] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_single_conversation_is_for_its_two() {
        let single = Conversation::Single { lo: 3, hi: 9 };
        assert!(single.may_include(3) && single.may_include(9) && !single.may_include(4));
        assert!(Conversation::World.may_include(4) && Conversation::Group(1).may_include(4));
    }
}
