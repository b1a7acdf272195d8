//! What was left out for one slow connection; pure.

use std::sync::Arc;

use super::split::Place;

/// Messages of one conversation, from a seq to a seq.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Gap {
    pub(crate) conversation_id: Arc<str>,
    pub(crate) from_seq: u64,
    pub(crate) to_seq: u64,
}

/// The gaps of a connection that it has not been told of yet.
///
/// *Invariant:* while a conversation is listed, its messages are added to the gap rather than sent: the client must
/// hear of the gap before it sees what follows.
#[derive(Debug, Default)]
pub(crate) struct Gaps {
    list: Vec<Gap>,
    /// More conversations than the list may hold: the client has to compare heads.
    overflown: bool,
}

impl Gaps {
    pub(crate) fn has(&self, conversation_id: &str) -> bool {
        self.list.iter().any(|gap| *gap.conversation_id == *conversation_id)
    }

    /// Notes that a message is left out. At most `max` conversations are listed.
    pub(crate) fn note(&mut self, place: &Place, max: usize) {
        if let Some(gap) = self.list.iter_mut().find(|gap| gap.conversation_id == place.conversation_id) {
            gap.from_seq = gap.from_seq.min(place.seq);
            gap.to_seq = gap.to_seq.max(place.seq);
        } else if self.list.len() < max {
            let conversation_id = Arc::clone(&place.conversation_id);
            self.list.push(Gap { conversation_id, from_seq: place.seq, to_seq: place.seq });
        } else {
            self.overflown = true;
        }
    }

    /// What to tell. None: too much was left out to be listed.
    pub(crate) fn told(self) -> Option<Vec<Gap>> {
        (!self.overflown).then_some(self.list)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noted(places: &[(&str, u64)]) -> Gaps {
        let mut gaps = Gaps::default();
        for (id, seq) in places {
            gaps.note(&Place { conversation_id: (*id).into(), seq: *seq, created_at_ms: 0 }, 2);
        }
        gaps
    }

    #[test]
    fn one_gap_for_each_conversation() {
        let gaps = noted(&[("world", 5), ("group_7", 1), ("world", 7), ("world", 6), ("world", 4)]);
        assert!(gaps.has("world") && gaps.has("group_7") && !gaps.has("group_8"));
        let gap = |id: &str, from_seq, to_seq| Gap { conversation_id: id.into(), from_seq, to_seq };
        assert_eq!(gaps.told(), Some(vec![gap("world", 4, 7), gap("group_7", 1, 1)]));
    }

    #[test]
    fn more_than_fit_are_not_listed() {
        let gaps = noted(&[("a", 1), ("b", 1), ("c", 1)]);
        assert!(!gaps.has("c"));
        assert_eq!(gaps.told(), None);
    }
}
