//! Client keys that this owner finished lately: a re-send of one needs its ack again and nothing else.
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

/// Where a message ended up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub message_id: u64,
    pub seq_id: u64,
}

/// What a re-send with a known key gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Known {
    /// The same message: its id and seq again.
    Same(Place),
    /// Other content under this key.
    Conflict,
}

struct Finished {
    place: Place,
    content: u64,
}

#[derive(Default)]
struct Partition {
    keys: HashMap<Arc<str>, Finished>,
    order: VecDeque<Arc<str>>,
}

/// Bounded for each partition; the oldest key goes first.
pub(crate) struct FinishedKeys {
    partitions: HashMap<u32, Partition>,
    capacity: usize,
    hasher: RandomState,
    scratch: String,
}

impl FinishedKeys {
    pub(crate) fn new(capacity: usize) -> Self {
        Self { partitions: HashMap::new(), capacity, hasher: RandomState::new(), scratch: String::new() }
    }

    /// `content` is the text and its type.
    pub(crate) fn find(&mut self, partition: u32, key: Key<'_>, content: (&str, i32)) -> Option<Known> {
        let partition = self.partitions.get(&partition)?;
        key.write(&mut self.scratch);
        let finished = partition.keys.get(self.scratch.as_str())?;
        Some(match finished.content == self.hasher.hash_one(content) {
            true => Known::Same(finished.place),
            false => Known::Conflict,
        })
    }

    pub(crate) fn insert(&mut self, partition: u32, key: Key<'_>, content: (&str, i32), place: Place) {
        if self.capacity == 0 {
            return;
        }
        let content = self.hasher.hash_one(content);
        let partition = self.partitions.entry(partition).or_default();
        key.write(&mut self.scratch);
        let key: Arc<str> = self.scratch.as_str().into();
        if partition.keys.insert(key.clone(), Finished { place, content }).is_some() {
            return;
        }
        partition.order.push_back(key);
        if partition.order.len() > self.capacity
            && let Some(oldest) = partition.order.pop_front()
        {
            partition.keys.remove(&oldest);
        }
    }

    pub(crate) fn forget_partition(&mut self, partition: u32) {
        self.partitions.remove(&partition);
    }
}

/// (conversation, sender, client message id): unique in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Key<'a> {
    pub conversation_id: &'a str,
    pub sender_id: u64,
    pub client_msg_id: &'a str,
}

impl Key<'_> {
    /// Two of the parts have no '/' in them, so different keys have different texts.
    fn write(&self, out: &mut String) {
        use std::fmt::Write;
        out.clear();
        let _ = write!(out, "{}/{}/{}", self.conversation_id, self.sender_id, self.client_msg_id);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(client_msg_id: &str) -> Key<'_> {
        Key { conversation_id: "single_1_2", sender_id: 1, client_msg_id }
    }

    #[test]
    fn a_resend_is_known_until_newer_keys_push_it_out() {
        let mut keys = FinishedKeys::new(2);
        let place = |n| Place { message_id: n, seq_id: n };
        for (n, id) in ["a", "b", "b", "c"].into_iter().enumerate() {
            keys.insert(3, key(id), ("hi", 1), place(n as u64));
        }
        assert_eq!(keys.find(3, key("a"), ("hi", 1)), None);
        assert_eq!(keys.find(3, key("c"), ("hi", 1)), Some(Known::Same(place(3))));
        assert_eq!(keys.find(3, key("c"), ("ho", 1)), Some(Known::Conflict));
        assert_eq!(keys.find(3, key("c"), ("hi", 2)), Some(Known::Conflict));
        assert_eq!(keys.find(4, key("c"), ("hi", 1)), None, "another partition");
        keys.forget_partition(3);
        assert_eq!(keys.find(3, key("c"), ("hi", 1)), None);
    }
}
