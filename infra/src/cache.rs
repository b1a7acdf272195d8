//! A cache: what is in it may be gone at any time, and it may be down altogether.
//!
//! The operations are those of Redis that we use, each one step. The one implementation so far keeps
//! everything in this process.

mod memory;

use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;

pub use memory::{MemoryCache, MemoryCacheConfig};

/// Why a call failed. The caller goes on without the cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CacheError {
    /// It can't be reached.
    #[error("the cache is down")]
    Down,
    /// The key holds another kind of value: a bug of ours.
    #[error("the cache key {0} holds another kind of value")]
    WrongKind(String),
}

/// From which end of a range of scores to take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Lowest scores first.
    Oldest,
    /// Highest scores first.
    Newest,
}

/// A cache. Clones share its content.
///
/// A time to live begins anew with every write that names one, for the whole key.
#[derive(Debug, Clone)]
pub enum Cache {
    /// In this process, bounded.
    Memory(MemoryCache),
}

macro_rules! forward {
    ($(
        $(#[$doc:meta])*
        $name:ident($($arg:ident: $type:ty),*) -> $answer:ty;
    )*) => {
        impl Cache {$(
            $(#[$doc])*
            ///
            /// # Errors
            /// When the cache is down, or the key holds another kind of value.
            pub async fn $name(&self, $($arg: $type),*) -> Result<$answer, CacheError> {
                match self {
                    Cache::Memory(memory) => memory.$name($($arg),*),
                }
            }
        )*}
    };
}

forward! {
    /// The value of a key.
    get(key: &str) -> Option<Bytes>;
    /// Sets a key, whatever it held.
    set(key: &str, value: Bytes, ttl: Duration) -> ();
    /// Removes a key of any kind; says whether it was there.
    del(key: &str) -> bool;
    /// Removes a key if it holds exactly this value; says whether it did.
    del_if(key: &str, expected: &[u8]) -> bool;
    /// The values of many keys, in their order.
    mget(keys: &[String]) -> Vec<Option<Bytes>>;
    /// Gives a key of any kind a new time to live; says whether it is there.
    expire(key: &str, ttl: Duration) -> bool;
    /// Sets a field of a hash.
    hset(key: &str, field: &str, value: Bytes, ttl: Duration) -> ();
    /// Sets a field of a hash unless it is there with a value that does not begin with `prefix`: a missing field or
    /// key is made. Says whether it did.
    hset_unless_other(key: &str, field: &str, prefix: &[u8], value: Bytes, ttl: Duration) -> bool;
    /// Every field of a hash, in no order; empty when there is no such key.
    hget_all(key: &str) -> Vec<(String, Bytes)>;
    /// Removes fields of a hash; says how many were there.
    hdel(key: &str, fields: &[String]) -> usize;
    /// Removes a field of a hash if its value begins with `prefix`; says whether it did.
    hdel_if(key: &str, field: &str, prefix: &[u8]) -> bool;
    /// Adds members to a sorted set and keeps those `keep` of the highest scores. A score has one member:
    /// adding at the same score replaces it.
    zadd(key: &str, members: &[(u64, Bytes)], keep: usize, ttl: Duration) -> ();
    /// Members with a score in the range, at most `limit`, in the order asked for.
    zrange(key: &str, scores: RangeInclusive<u64>, limit: usize, order: Order) -> Vec<(u64, Bytes)>;
    /// Removes the members with a score in the range; says how many there were.
    zrem(key: &str, scores: RangeInclusive<u64>) -> usize;
}
