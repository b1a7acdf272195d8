//! The cache in this process: shards of a hash map, bounded in entries and bytes, with second-chance
//! eviction (a key that was read since the last pass stays once more).

mod held;

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::ops::RangeInclusive;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use prometheus_client::metrics::counter::Counter;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::{CacheError, Order};
use crate::telemetry::Metrics;

const SHARDS: usize = 16;

/// What an entry, a field or a member costs beside its own bytes; measured roughly, so that the bound on
/// bytes is one on memory.
const OVERHEAD_BYTES: usize = 96;

/// The bounds of a cache in memory. When one is reached, the keys read least lately go.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct MemoryCacheConfig {
    /// Keys, at least 16.
    pub max_entries: usize,
    /// Keys and values with their overhead. A single key over a sixteenth of this is not kept.
    pub max_bytes: usize,
}

impl Default for MemoryCacheConfig {
    /// 200,000 keys, 128 MiB.
    fn default() -> Self {
        MemoryCacheConfig { max_entries: 200_000, max_bytes: 128 << 20 }
    }
}

/// A bounded cache in this process. Clones share its content.
#[derive(Debug, Clone)]
pub struct MemoryCache {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    shards: Vec<Mutex<Shard>>,
    hasher: RandomState,
    down: AtomicBool,
    evicted: Counter,
}

#[derive(Debug)]
struct Shard {
    entries: HashMap<Arc<str>, Entry>,
    /// Every key once, and keys that are gone until the hand passes them.
    clock: VecDeque<Arc<str>>,
    bytes: usize,
    max_entries: usize,
    max_bytes: usize,
    evicted: Counter,
}

#[derive(Debug)]
struct Entry {
    value: Value,
    bytes: usize,
    expires: Instant,
    /// Read since the hand last passed.
    touched: bool,
}

#[derive(Debug)]
enum Value {
    Plain(Bytes),
    Hash(HashMap<String, Bytes>),
    Sorted(BTreeMap<u64, Bytes>),
}

impl MemoryCache {
    /// An empty cache.
    pub fn new(config: &MemoryCacheConfig) -> MemoryCache {
        let evicted = Counter::default();
        let shard = || {
            Mutex::new(Shard {
                entries: HashMap::new(),
                clock: VecDeque::new(),
                bytes: 0,
                max_entries: (config.max_entries / SHARDS).max(1),
                max_bytes: config.max_bytes / SHARDS,
                evicted: evicted.clone(),
            })
        };
        MemoryCache {
            shared: Arc::new(Shared {
                shards: (0..SHARDS).map(|_| shard()).collect(),
                hasher: RandomState::new(),
                down: AtomicBool::new(false),
                evicted,
            }),
        }
    }

    /// Shows what this cache had to let go, as `{prefix}_evicted_total`, and what it holds at each scrape, as
    /// `{prefix}_entries` and `{prefix}_bytes` by kind: a key's name up to its first colon.
    pub fn register_metrics(&self, metrics: &Metrics, prefix: &str) {
        let evicted = self.shared.evicted.clone();
        metrics.with(prefix, |r| {
            r.register("evicted", "Live keys that went for want of room", evicted);
            r.register_collector(Box::new(held::Held(self.clone())));
        });
    }

    /// Keys and bytes by kind. Locks one shard at a time, each for as long as it takes to look at its keys.
    fn held(&self) -> held::Kinds {
        let mut kinds = held::Kinds::default();
        for shard in &self.shared.shards {
            locked(shard).entries.iter().for_each(|(key, entry)| kinds.add(key, entry.bytes));
        }
        kinds
    }

    /// Live keys that went for want of room.
    pub fn evicted(&self) -> u64 {
        self.shared.evicted.get()
    }

    /// Makes every call fail from now on, as a cache that can't be reached would; for tests. Nothing is lost:
    /// what was in it is there again, by then perhaps stale, when it comes back.
    pub fn set_down(&self, down: bool) {
        self.shared.down.store(down, Ordering::SeqCst);
    }

    /// Keys held, expired ones included until they are met.
    pub fn entries(&self) -> usize {
        self.shared.shards.iter().map(|shard| locked(shard).entries.len()).sum()
    }

    /// Bytes held, with overhead.
    pub fn bytes(&self) -> usize {
        self.shared.shards.iter().map(|shard| locked(shard).bytes).sum()
    }

    fn shard(&self, key: &str) -> Result<MutexGuard<'_, Shard>, CacheError> {
        if self.shared.down.load(Ordering::SeqCst) {
            return Err(CacheError::Down);
        }
        let index = self.shared.hasher.hash_one(key) as usize % SHARDS;
        Ok(locked(&self.shared.shards[index]))
    }
}

fn locked(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The operations, as documented at [`super::Cache`].
impl MemoryCache {
    pub(super) fn get(&self, key: &str) -> Result<Option<Bytes>, CacheError> {
        let mut shard = self.shard(key)?;
        match shard.live(key).map(|entry| &entry.value) {
            None => Ok(None),
            Some(Value::Plain(value)) => Ok(Some(value.clone())),
            Some(_) => Err(wrong(key)),
        }
    }

    pub(super) fn set(&self, key: &str, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        let mut shard = self.shard(key)?;
        if !matches!(shard.live(key).map(|entry| &entry.value), Some(Value::Plain(_))) {
            shard.remove(key);
        }
        shard.write(
            key,
            ttl,
            || Value::Plain(Bytes::new()),
            |slot| {
                let Value::Plain(held) = slot else { return Err(wrong(key)) };
                let grown = value.len() as isize - held.len() as isize;
                *held = value;
                Ok(((), grown))
            },
        )
    }

    pub(super) fn del(&self, key: &str) -> Result<bool, CacheError> {
        let mut shard = self.shard(key)?;
        Ok(shard.live(key).is_some() && shard.remove(key))
    }

    pub(super) fn del_if(&self, key: &str, expected: &[u8]) -> Result<bool, CacheError> {
        let mut shard = self.shard(key)?;
        match shard.live(key).map(|entry| &entry.value) {
            None => Ok(false),
            Some(Value::Plain(value)) if value == expected => Ok(shard.remove(key)),
            Some(Value::Plain(_)) => Ok(false),
            Some(_) => Err(wrong(key)),
        }
    }

    pub(super) fn mget(&self, keys: &[String]) -> Result<Vec<Option<Bytes>>, CacheError> {
        keys.iter().map(|key| self.get(key)).collect()
    }

    pub(super) fn expire(&self, key: &str, ttl: Duration) -> Result<bool, CacheError> {
        let mut shard = self.shard(key)?;
        let entry = shard.live(key);
        Ok(entry.map(|entry| entry.expires = Instant::now() + ttl).is_some())
    }

    pub(super) fn hset(&self, key: &str, field: &str, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        self.shard(key)?.hset(key, field, value, ttl)
    }

    pub(super) fn hset_unless_other(
        &self,
        key: &str,
        field: &str,
        prefix: &[u8],
        value: Bytes,
        ttl: Duration,
    ) -> Result<bool, CacheError> {
        let mut shard = self.shard(key)?;
        match shard.live(key).map(|entry| &mut entry.value) {
            Some(Value::Hash(fields)) if fields.get(field).is_some_and(|v| !v.starts_with(prefix)) => {
                return Ok(false);
            }
            None | Some(Value::Hash(_)) => {}
            Some(_) => return Err(wrong(key)),
        }
        shard.hset(key, field, value, ttl)?;
        Ok(true)
    }

    pub(super) fn hget_all(&self, key: &str) -> Result<Vec<(String, Bytes)>, CacheError> {
        let mut shard = self.shard(key)?;
        match shard.live(key).map(|entry| &entry.value) {
            None => Ok(Vec::new()),
            Some(Value::Hash(fields)) => Ok(fields.iter().map(|(f, v)| (f.clone(), v.clone())).collect()),
            Some(_) => Err(wrong(key)),
        }
    }

    pub(super) fn hdel(&self, key: &str, fields: &[String]) -> Result<usize, CacheError> {
        self.remove_fields(key, fields.iter().map(String::as_str), |_| true)
    }

    pub(super) fn hdel_if(&self, key: &str, field: &str, prefix: &[u8]) -> Result<bool, CacheError> {
        Ok(self.remove_fields(key, std::iter::once(field), |value| value.starts_with(prefix))? == 1)
    }

    fn remove_fields<'f>(
        &self,
        key: &str,
        names: impl Iterator<Item = &'f str>,
        matches: impl Fn(&Bytes) -> bool,
    ) -> Result<usize, CacheError> {
        let mut shard = self.shard(key)?;
        let (mut removed, mut shrunk, mut empty) = (0, 0, false);
        match shard.live(key).map(|entry| &mut entry.value) {
            None => {}
            Some(Value::Hash(fields)) => {
                for name in names {
                    if fields.get(name).is_some_and(&matches) {
                        let value = fields.remove(name).unwrap_or_default();
                        shrunk += name.len() + value.len() + OVERHEAD_BYTES;
                        removed += 1;
                    }
                }
                empty = fields.is_empty();
            }
            Some(_) => return Err(wrong(key)),
        }
        shard.shrink(key, shrunk, empty);
        Ok(removed)
    }

    pub(super) fn zadd(
        &self,
        key: &str,
        members: &[(u64, Bytes)],
        keep: usize,
        ttl: Duration,
    ) -> Result<(), CacheError> {
        self.shard(key)?.write(
            key,
            ttl,
            || Value::Sorted(BTreeMap::new()),
            |slot| {
                let Value::Sorted(sorted) = slot else { return Err(wrong(key)) };
                let mut grown = 0;
                for (score, member) in members {
                    grown += (member.len() + OVERHEAD_BYTES) as isize;
                    if let Some(old) = sorted.insert(*score, member.clone()) {
                        grown -= (old.len() + OVERHEAD_BYTES) as isize;
                    }
                }
                while sorted.len() > keep {
                    let Some((_, member)) = sorted.pop_first() else { break };
                    grown -= (member.len() + OVERHEAD_BYTES) as isize;
                }
                Ok(((), grown))
            },
        )
    }

    pub(super) fn zrange(
        &self,
        key: &str,
        scores: RangeInclusive<u64>,
        limit: usize,
        order: Order,
    ) -> Result<Vec<(u64, Bytes)>, CacheError> {
        let mut shard = self.shard(key)?;
        match shard.live(key).map(|entry| &entry.value) {
            None => Ok(Vec::new()),
            // BTreeMap panics on a range that ends before it begins.
            Some(Value::Sorted(_)) if scores.is_empty() => Ok(Vec::new()),
            Some(Value::Sorted(sorted)) => {
                let pair = |(score, member): (&u64, &Bytes)| (*score, member.clone());
                let range = sorted.range(scores);
                Ok(match order {
                    Order::Oldest => range.take(limit).map(pair).collect(),
                    Order::Newest => range.rev().take(limit).map(pair).collect(),
                })
            }
            Some(_) => Err(wrong(key)),
        }
    }

    pub(super) fn zrem(&self, key: &str, scores: RangeInclusive<u64>) -> Result<usize, CacheError> {
        let mut shard = self.shard(key)?;
        let (mut removed, mut shrunk, mut empty) = (0, 0, false);
        match shard.live(key).map(|entry| &mut entry.value) {
            None => {}
            Some(Value::Sorted(_)) if scores.is_empty() => {}
            Some(Value::Sorted(sorted)) => {
                let gone: Vec<u64> = sorted.range(scores).map(|(score, _)| *score).collect();
                for score in &gone {
                    let member = sorted.remove(score).unwrap_or_default();
                    shrunk += member.len() + OVERHEAD_BYTES;
                }
                removed = gone.len();
                empty = sorted.is_empty();
            }
            Some(_) => return Err(wrong(key)),
        }
        shard.shrink(key, shrunk, empty);
        Ok(removed)
    }
}

fn wrong(key: &str) -> CacheError {
    CacheError::WrongKind(key.to_owned())
}

impl Shard {
    /// The entry of a key that hasn't expired, marked as read.
    fn live(&mut self, key: &str) -> Option<&mut Entry> {
        let expired = self.entries.get(key)?.expires <= Instant::now();
        if expired {
            self.remove(key);
            return None;
        }
        let entry = self.entries.get_mut(key)?;
        entry.touched = true;
        Some(entry)
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(entry) = self.entries.remove(key) else { return false };
        self.bytes -= entry.bytes;
        // Names of removed keys wait in the clock for the hand, which moves only when the shard is full:
        // a workload of sets and deletes would let them pile up.
        if self.clock.len() > 2 * self.entries.len() + 64 {
            let entries = &self.entries;
            let mut seen = std::collections::HashSet::with_capacity(entries.len());
            self.clock.retain(|name| entries.contains_key(name) && seen.insert(name.clone()));
        }
        true
    }

    /// Changes a key's value, making it first if needed, and then makes room. `change` returns by how many
    /// bytes the value grew.
    fn write<R>(
        &mut self,
        key: &str,
        ttl: Duration,
        fresh: impl FnOnce() -> Value,
        change: impl FnOnce(&mut Value) -> Result<(R, isize), CacheError>,
    ) -> Result<R, CacheError> {
        let expires = Instant::now() + ttl;
        if self.live(key).is_none() {
            let name: Arc<str> = key.into();
            let bytes = key.len() + OVERHEAD_BYTES;
            self.clock.push_back(name.clone());
            self.bytes += bytes;
            self.entries.insert(name, Entry { value: fresh(), bytes, expires, touched: false });
        }
        let Some(entry) = self.entries.get_mut(key) else { return Err(wrong(key)) };
        let (answer, grown) = change(&mut entry.value)?;
        entry.expires = expires;
        entry.bytes = entry.bytes.saturating_add_signed(grown);
        self.bytes = self.bytes.saturating_add_signed(grown);
        if entry.bytes > self.max_bytes {
            self.remove(key);
            self.evicted.inc();
        }
        self.make_room();
        Ok(answer)
    }

    fn hset(&mut self, key: &str, field: &str, value: Bytes, ttl: Duration) -> Result<(), CacheError> {
        self.write(
            key,
            ttl,
            || Value::Hash(HashMap::new()),
            |slot| {
                let Value::Hash(fields) = slot else { return Err(wrong(key)) };
                let added = value.len() as isize;
                let grown = match fields.insert(field.to_owned(), value) {
                    Some(old) => added - old.len() as isize,
                    None => added + (field.len() + OVERHEAD_BYTES) as isize,
                };
                Ok(((), grown))
            },
        )
    }

    fn shrink(&mut self, key: &str, bytes: usize, empty: bool) {
        if let Some(entry) = self.entries.get_mut(key) {
            entry.bytes -= bytes;
            self.bytes -= bytes;
        }
        if empty {
            self.remove(key);
        }
    }

    fn make_room(&mut self) {
        let now = Instant::now();
        while self.entries.len() > self.max_entries || self.bytes > self.max_bytes {
            let Some(name) = self.clock.pop_front() else { break };
            match self.entries.get_mut(&name) {
                Some(entry) if entry.touched && entry.expires > now => {
                    entry.touched = false;
                    self.clock.push_back(name);
                }
                Some(entry) => {
                    if entry.expires > now {
                        self.evicted.inc();
                    }
                    self.remove(&name);
                }
                None => {}
            }
        }
    }
}

#[cfg(test)]
mod tests;
