//! Gateways that lost a record, and whose connections have to compare heads for it.
use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::routes::Gateway;

/// Who of a gateway lost something.
#[derive(Clone, Copy, Debug)]
pub(super) enum Whom {
    One(u64),
    Everyone,
}

/// `None` stands for everyone.
type Users = Option<HashSet<u64>>;

/// Marked gateways. Bounded: only gateways that were live get in, and beyond `users_max` users all are meant.
pub(super) struct Marks {
    marked: Mutex<HashMap<Arc<Gateway>, Users>>,
    users_max: usize,
}

impl Marks {
    pub(super) fn new(users_max: usize) -> Self {
        Self { marked: Mutex::default(), users_max }
    }

    pub(super) fn mark(&self, gateway: &Arc<Gateway>, whom: Whom) {
        let users = match whom {
            Whom::One(user) => Some(HashSet::from([user])),
            Whom::Everyone => None,
        };
        self.put_back(gateway.clone(), users);
    }

    /// Joins `users` to those that are marked already.
    pub(super) fn put_back(&self, gateway: Arc<Gateway>, users: Users) {
        let mut marked = self.lock();
        let entry = marked.entry(gateway).or_insert_with(|| Some(HashSet::new()));
        match (entry.as_mut(), users) {
            (Some(all), Some(more)) if all.len() + more.len() <= self.users_max => all.extend(more),
            _ => *entry = None,
        }
    }

    /// All marks; they are gone after this.
    pub(super) fn take(&self) -> HashMap<Arc<Gateway>, Users> {
        std::mem::take(&mut *self.lock())
    }

    pub(super) fn is_empty(&self) -> bool {
        self.lock().is_empty()
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Arc<Gateway>, Users>> {
        self.marked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn users_are_collected_until_they_are_too_many_to_name() {
        let marks = Marks::new(3);
        let gateway = Arc::new(Gateway { instance: "g".into(), slot: 0 });
        for user in [1, 2, 2, 3] {
            marks.mark(&gateway, Whom::One(user));
        }
        let taken = marks.take();
        assert_eq!(taken[&gateway], Some(HashSet::from([1, 2, 3])));
        assert!(marks.is_empty());
        for (gateway, users) in taken {
            marks.put_back(gateway, users);
        }
        marks.mark(&gateway, Whom::One(4));
        assert_eq!(marks.take()[&gateway], None, "more than three");
        marks.mark(&gateway, Whom::Everyone);
        marks.mark(&gateway, Whom::One(1));
        assert_eq!(marks.take()[&gateway], None);
    }
}
