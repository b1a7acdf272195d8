//! Who missed something because a shard's mailbox stayed full, until the shard has been told; pure.

use std::collections::HashSet;

use super::split::Item;

/// Users of one shard that are to be sent `resync`.
#[derive(Debug)]
pub(crate) struct Marks {
    users: HashSet<u64>,
    all: bool,
    max: usize,
}

impl Marks {
    /// Remembers up to `max` users; beyond it, all of the shard are marked.
    pub(crate) fn new(max: usize) -> Self {
        Marks { users: HashSet::new(), all: false, max }
    }

    pub(crate) fn is_empty(&self) -> bool {
        !self.all && self.users.is_empty()
    }

    pub(crate) fn mark_all(&mut self) {
        self.all = true;
        self.users = HashSet::new();
    }

    /// Marks whoever these items were for. True when they were too many to remember.
    #[must_use]
    pub(crate) fn mark(&mut self, items: &[Item]) -> bool {
        let mut overflown = false;
        for item in items {
            match item {
                Item::Everyone { .. } | Item::Resync { users: None, .. } => self.mark_all(),
                Item::Users { users, .. } | Item::Resync { users: Some(users), .. } => {
                    overflown |= self.mark_users(users);
                }
                // The sender of a lost ack sends his message again.
                Item::Ack { .. } => {}
            }
        }
        overflown
    }

    fn mark_users(&mut self, users: &[u64]) -> bool {
        if self.all {
            return false;
        }
        self.users.extend(users);
        let overflown = self.users.len() > self.max;
        if overflown {
            self.mark_all();
        }
        overflown
    }

    /// What to post. The marks stay until [`Marks::clear`].
    pub(crate) fn item(&self, spread_ms: u64) -> Item {
        let users = (!self.all).then(|| self.users.iter().copied().collect());
        Item::Resync { users, spread_ms }
    }

    pub(crate) fn clear(&mut self) {
        self.all = false;
        self.users = HashSet::new();
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::{super::split::Place, *};

    fn users(users: &[u64]) -> Item {
        Item::Users { frame: Bytes::new(), users: users.to_vec(), place: None, droppable: false }
    }

    fn marked(marks: &Marks) -> Option<Vec<u64>> {
        let Item::Resync { users, spread_ms: 9 } = marks.item(9) else { panic!("no resync") };
        users.map(|mut users| {
            users.sort_unstable();
            users
        })
    }

    #[test]
    fn users_are_marked_until_they_are_too_many() {
        let mut marks = Marks::new(2);
        assert!(marks.is_empty());
        assert!(!marks.mark(&[users(&[1, 2]), users(&[2])]));
        assert_eq!(marked(&marks), Some(vec![1, 2]));
        assert!(marks.mark(&[users(&[3])]));
        assert!(!marks.mark(&[users(&[4])]), "all are marked already");
        assert_eq!(marked(&marks), None);
        marks.clear();
        assert!(marks.is_empty());
        let place = Place { conversation_id: "world".into(), seq: 1, created_at_ms: 0 };
        assert!(!marks.mark(&[Item::Everyone { frame: Bytes::new(), place }, users(&[1])]));
        assert_eq!(marked(&marks), None);
    }
}
