//! Who is here: key → connections of this shard. Pure.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// The shard on which all connections of `key` meet.
#[must_use]
pub fn home_of(key: u64, shards: usize) -> usize {
    // The high half of the mixed key: its low half picks the bucket in the shard's map.
    (((mix(key) >> 32) * shards.max(1) as u64) >> 32) as usize
}

/// splitmix64's finaliser: neighbouring keys go to unrelated numbers.
fn mix(key: u64) -> u64 {
    let mut x = key.wrapping_add(0x9e37_79b9_7f4a_7c15);
    x = (x ^ (x >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ (x >> 31)
}

/// Hashes a u64 key by mixing it. Keys come from authenticated sessions, and those of one shard share nothing that a
/// client picks bit by bit, so a keyed hash is not paid for.
#[derive(Default)]
pub(crate) struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = mix(self.0 ^ u64::from(*byte));
        }
    }
    fn write_u64(&mut self, key: u64) {
        self.0 = mix(key);
    }
}

/// Nearly every key has one connection, which then costs no allocation.
enum Slots {
    One(u32),
    Many(Vec<u32>),
}

/// Connections by key; a connection is its slot.
#[derive(Default)]
pub(crate) struct Hub {
    keys: HashMap<u64, Slots, BuildHasherDefault<KeyHasher>>,
}

impl Hub {
    /// Adds a connection. The caller adds a slot once.
    pub(crate) fn bind(&mut self, key: u64, slot: usize) {
        let slot = slot as u32;
        self.keys
            .entry(key)
            .and_modify(|slots| match slots {
                Slots::One(first) => *slots = Slots::Many(vec![*first, slot]),
                Slots::Many(many) => many.push(slot),
            })
            .or_insert(Slots::One(slot));
    }

    /// Removes a connection; nothing happens when it is not there.
    pub(crate) fn unbind(&mut self, key: u64, slot: usize) {
        let slot = slot as u32;
        let empty = match self.keys.get_mut(&key) {
            Some(Slots::One(only)) => *only == slot,
            Some(Slots::Many(many)) => {
                many.retain(|one| *one != slot);
                many.is_empty()
            }
            None => false,
        };
        if empty {
            self.keys.remove(&key);
        }
    }

    /// The slots of a key.
    pub(crate) fn slots(&self, key: u64) -> &[u32] {
        match self.keys.get(&key) {
            Some(Slots::One(slot)) => std::slice::from_ref(slot),
            Some(Slots::Many(many)) => many,
            None => &[],
        }
    }

    /// Keys with at least one connection.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_of_a_key_come_and_go() {
        let mut hub = Hub::default();
        hub.bind(7, 1);
        hub.bind(7, 2);
        hub.bind(8, 3);
        assert_eq!(hub.slots(7), [1, 2]);
        hub.unbind(7, 1);
        hub.unbind(7, 1);
        assert_eq!(hub.slots(7), [2]);
        hub.unbind(7, 2);
        assert_eq!(hub.slots(7), [0u32; 0]);
        assert_eq!(hub.len(), 1);
    }

    #[test]
    fn homes_are_stable_inside_the_range_and_even() {
        for shards in [1, 2, 3, 7, 64] {
            let mut counts = vec![0u32; shards];
            for key in 0..10_000 {
                counts[home_of(key, shards)] += 1;
            }
            let mean = 10_000 / shards as u32;
            assert!(counts.iter().all(|n| *n > mean / 2 && *n < mean * 2), "{shards} shards: {counts:?}");
        }
    }
}
