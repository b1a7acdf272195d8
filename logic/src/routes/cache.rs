//! Routes with an end, in bounded maps.
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use super::{OnlineMembers, UserRoute};

struct User {
    route: UserRoute,
    until: Instant,
}

struct Group {
    list: Arc<OnlineMembers>,
    entries: usize,
    until: Instant,
}

/// When a map is full, what has expired goes first, and if that is too little, all of it: after two seconds it
/// would have gone anyway.
pub(super) struct Cache {
    users: HashMap<u64, User>,
    users_max: usize,
    groups: HashMap<u64, Group>,
    entries: usize,
    entries_max: usize,
}

impl Cache {
    pub(super) fn new(users_max: usize, entries_max: usize) -> Self {
        Self { users: HashMap::new(), users_max, groups: HashMap::new(), entries: 0, entries_max }
    }

    pub(super) fn user(&self, user: u64, now: Instant) -> Option<UserRoute> {
        self.users.get(&user).filter(|kept| kept.until > now).map(|kept| kept.route.clone())
    }

    pub(super) fn put_user(&mut self, user: u64, route: UserRoute, until: Instant) {
        if self.users.len() >= self.users_max {
            let now = Instant::now();
            self.users.retain(|_, kept| kept.until > now);
            // Half, so that the walk is not paid again for the very next user.
            if self.users.len() > self.users_max / 2 {
                self.users.clear();
            }
        }
        if self.users_max > 0 {
            self.users.insert(user, User { route, until });
        }
    }

    pub(super) fn group(&self, group: u64, now: Instant) -> Option<Arc<OnlineMembers>> {
        self.groups.get(&group).filter(|kept| kept.until > now).map(|kept| kept.list.clone())
    }

    pub(super) fn put_group(&mut self, group: u64, list: Arc<OnlineMembers>, entries: usize, until: Instant) {
        self.forget_group(group);
        if self.entries + entries > self.entries_max {
            let now = Instant::now();
            self.groups.retain(|_, kept| kept.until > now);
            self.entries = self.groups.values().map(|kept| kept.entries).sum();
        }
        if self.entries + entries > self.entries_max {
            self.groups.clear();
            self.entries = 0;
        }
        // A list larger than the whole cache is read again each time.
        if entries <= self.entries_max {
            self.entries += entries;
            self.groups.insert(group, Group { list, entries, until });
        }
    }

    pub(super) fn forget_users(&mut self, users: impl IntoIterator<Item = u64>) {
        for user in users {
            self.users.remove(&user);
        }
    }

    pub(super) fn forget_group(&mut self, group: u64) {
        if let Some(kept) = self.groups.remove(&group) {
            self.entries -= kept.entries;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn list() -> Arc<OnlineMembers> {
        Arc::new(OnlineMembers { version: 1, gateways: Vec::new(), large: false })
    }

    #[test]
    fn routes_end_and_offline_is_a_route_too() {
        let mut cache = Cache::new(10, 10);
        let now = Instant::now();
        let until = now + Duration::from_secs(2);
        cache.put_user(1, Arc::from([]), until);
        cache.put_group(7, list(), 1, until);
        assert!(cache.user(1, now).is_some_and(|route| route.is_empty()));
        assert!(cache.group(7, now).is_some());
        assert!(cache.user(1, until).is_none() && cache.group(7, until).is_none());
        cache.forget_users([1]);
        cache.forget_group(7);
        assert!(cache.user(1, now).is_none() && cache.group(7, now).is_none());
        assert_eq!(cache.entries, 0);
    }

    #[test]
    fn both_maps_are_bounded() {
        let mut cache = Cache::new(10, 10);
        let until = Instant::now() + Duration::from_secs(3600);
        for n in 0..100 {
            cache.put_user(n, Arc::from([]), until);
            cache.put_group(n, list(), 3, until);
            assert!(cache.users.len() <= 10 && cache.entries <= 10 && cache.groups.len() <= 3);
        }
        cache.put_group(1000, list(), 11, until);
        assert!(cache.group(1000, Instant::now()).is_none(), "too large to keep");
    }
}
