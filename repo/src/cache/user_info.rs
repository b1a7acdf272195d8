//! `user_info:{user_id}`: a user without his password hash, as JSON, with the version of his row.
//!
//! A reader that read the row before an update may put it here after the update's removal. So who fills an
//! entry compares its version with the row once more afterwards and removes what is old (see
//! `service::users`): either he sees the update, or the update's removal comes after his entry.
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use gochat_proto::repo::v1::User;
use serde::{Deserialize, Serialize};

use super::Caches;
use crate::metrics::{CacheKind, Looked};
use crate::store::VersionedUser;

#[derive(Serialize, Deserialize)]
struct Entry {
    user_id: u64,
    username: String,
    email: String,
    display_name: String,
    avatar_url: String,
    status: i32,
    created_at_ms: i64,
    updated_at_ms: i64,
    version: u64,
}

fn key(user_id: u64) -> String {
    format!("user_info:{user_id}")
}

impl Caches {
    /// What is kept of these users, in their order; None for those that are not.
    pub(crate) async fn users(&self, ids: &[u64]) -> Vec<Option<User>> {
        let nothing = || vec![None; ids.len()];
        if !self.settle_removals().await {
            return nothing();
        }
        let keys: Vec<String> = ids.iter().copied().map(key).collect();
        let Some(found) = self.readable(CacheKind::UserInfo, self.cache.mget(&keys).await) else {
            return nothing();
        };
        let users: Vec<_> = found.into_iter().map(|value| self.read_user(&value?)).collect();
        let hits = users.iter().flatten().count();
        self.metrics.cache_read(CacheKind::UserInfo, Looked::Hit, hits);
        self.metrics.cache_read(CacheKind::UserInfo, Looked::Miss, users.len() - hits);
        users
    }

    fn read_user(&self, value: &[u8]) -> Option<User> {
        let entry: Entry = serde_json::from_slice(value)
            .inspect_err(|_| self.metrics.cache_unreadable(CacheKind::UserInfo))
            .ok()?;
        Some(User {
            user_id: entry.user_id,
            username: entry.username,
            email: entry.email,
            password_hash: String::new(),
            display_name: entry.display_name,
            avatar_url: entry.avatar_url,
            status: entry.status,
            created_at_ms: entry.created_at_ms,
            updated_at_ms: entry.updated_at_ms,
        })
    }

    /// Keeps a user. The caller must compare the version with the row's afterwards.
    pub(crate) async fn keep_user(&self, VersionedUser { user, version }: &VersionedUser) -> bool {
        let entry = Entry {
            user_id: user.user_id,
            username: user.username.clone(),
            email: user.email.clone(),
            display_name: user.display_name.clone(),
            avatar_url: user.avatar_url.clone(),
            status: user.status,
            created_at_ms: user.created_at_ms,
            updated_at_ms: user.updated_at_ms,
            version: *version,
        };
        let json = Bytes::from(serde_json::to_vec(&entry).expect("strings and numbers become JSON"));
        let ttl = Duration::from_secs(self.config.user_info_ttl_s);
        self.written(CacheKind::UserInfo, self.cache.set(&key(user.user_id), json, ttl).await)
    }

    /// Removes a user; when that fails it is tried again before anything more is read.
    pub(crate) async fn forget_user(&self, user_id: u64) {
        if !self.written(CacheKind::UserInfo, self.cache.del(&key(user_id)).await) {
            let ttl = Duration::from_secs(self.config.user_info_ttl_s);
            if !self.removals.add(user_id, ttl) {
                self.metrics.cache_distrusted();
            }
        }
    }

    /// Makes up for removals that failed; false while the cache can't be believed.
    async fn settle_removals(&self) -> bool {
        let pending = match self.removals.pending() {
            Pending::None => return true,
            Pending::Unknown => return false,
            Pending::Users(users) => users,
        };
        for (user_id, failure) in pending {
            if !self.written(CacheKind::UserInfo, self.cache.del(&key(user_id)).await) {
                return false;
            }
            self.removals.made_up_for(user_id, failure);
        }
        true
    }
}

/// Users whose removal from the cache failed: until it is made up for, the cache may hold what they were
/// before.
pub(super) struct PendingRemovals {
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// With the number of the last failure of each. Who is here stays until his removal is done: another reader who
    /// came meanwhile would believe what is about to be removed.
    users: HashMap<u64, u64>,
    failures: u64,
    /// Set when there were more than could be remembered: until then any entry may be old.
    distrusted_until: Option<Instant>,
}

enum Pending {
    None,
    Users(Vec<(u64, u64)>),
    Unknown,
}

impl PendingRemovals {
    pub(super) fn new(max: usize) -> Self {
        Self { max, state: Mutex::default() }
    }

    /// False when there is no room to remember it.
    fn add(&self, user_id: u64, entry_ttl: Duration) -> bool {
        let mut state = self.lock();
        state.failures += 1;
        let failure = state.failures;
        let room = state.users.len() < self.max || state.users.contains_key(&user_id);
        match room {
            true => drop(state.users.insert(user_id, failure)),
            false => state.distrusted_until = Some(Instant::now() + entry_ttl),
        }
        room
    }

    /// The user's entry was removed after this failure; a later one is still to be made up for.
    fn made_up_for(&self, user_id: u64, failure: u64) {
        let mut state = self.lock();
        if state.users.get(&user_id) == Some(&failure) {
            state.users.remove(&user_id);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn pending(&self) -> Pending {
        let mut state = self.lock();
        if state.distrusted_until.is_some_and(|until| Instant::now() < until) {
            return Pending::Unknown;
        }
        state.distrusted_until = None;
        match state.users.is_empty() {
            true => Pending::None,
            false => Pending::Users(state.users.iter().map(|(&user, &failure)| (user, failure)).collect()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TTL: Duration = Duration::from_secs(60);

    #[test]
    fn removals_that_failed_are_remembered_up_to_a_bound() {
        let removals = PendingRemovals::new(2);
        assert!(matches!(removals.pending(), Pending::None));
        assert!(removals.add(1, TTL) && removals.add(2, TTL) && removals.add(1, TTL));
        assert!(matches!(removals.pending(), Pending::Users(users) if users.len() == 2));
        assert!(!removals.add(3, TTL));
        assert!(matches!(removals.pending(), Pending::Unknown));
    }

    #[test]
    fn a_user_is_pending_for_every_reader_until_he_is_removed() {
        let removals = PendingRemovals::new(2);
        removals.add(1, TTL);
        let Pending::Users(first) = removals.pending() else { panic!("one is pending") };
        assert!(matches!(removals.pending(), Pending::Users(users) if users == first));
        // While the first reader removes him, he changes again and that removal fails.
        removals.add(1, TTL);
        removals.made_up_for(first[0].0, first[0].1);
        let Pending::Users(again) = removals.pending() else { panic!("the second failure is pending") };
        removals.made_up_for(again[0].0, again[0].1);
        assert!(matches!(removals.pending(), Pending::None));
    }
}
