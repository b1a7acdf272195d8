//! A token bucket as a single number, the time at which it will be full again (GCRA), and a bounded map of them.

use std::{collections::HashMap, hash::Hash};

/// What a bucket holds and how fast it fills.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    interval_us: u64,
    /// How far ahead of now a bucket's time may lie for one more to be taken.
    ahead_max_us: u64,
}

impl Rate {
    pub(super) fn new(per_s: u32, burst: u32) -> Self {
        let interval_us = 1_000_000 / u64::from(per_s.max(1));
        Rate { interval_us, ahead_max_us: interval_us * u64::from(burst.saturating_sub(1)) }
    }

    /// Milliseconds until one may be taken; None: now.
    pub(super) fn wait_ms(&self, bucket: Bucket, now_us: u64) -> Option<u64> {
        let ahead_us = bucket.full_us.saturating_sub(now_us);
        (ahead_us > self.ahead_max_us).then(|| (ahead_us - self.ahead_max_us).div_ceil(1000))
    }

    pub(super) fn take(&self, bucket: &mut Bucket, now_us: u64) {
        bucket.full_us = bucket.full_us.max(now_us) + self.interval_us;
    }
}

/// When it will be full, in microseconds of the shard's clock. A new one is.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Bucket {
    full_us: u64,
}

/// The buckets of many, `N` for each: only of those whose buckets are not full, since the others are as if new.
#[derive(Debug)]
pub(super) struct Kept<K, const N: usize> {
    kept: HashMap<K, [Bucket; N]>,
    max: usize,
    /// With so many, those whose buckets have filled are looked for.
    sweep_at: usize,
    /// How often somebody found no room.
    without_room: u64,
}

/// Fewer than this are not worth looking through.
const SWEEP_MIN: usize = 1024;

impl<K: Eq + Hash, const N: usize> Kept<K, N> {
    /// Of at most `max`.
    pub(super) fn new(max: usize) -> Self {
        Kept { kept: HashMap::new(), max, sweep_at: SWEEP_MIN.min(max), without_room: 0 }
    }

    /// Somebody's buckets. None, which is counted, when there is no room for them.
    pub(super) fn of(&mut self, whose: K, now_us: u64) -> Option<&mut [Bucket; N]> {
        if self.kept.len() >= self.sweep_at && !self.kept.contains_key(&whose) {
            self.kept.retain(|_, buckets| buckets.iter().any(|bucket| bucket.full_us > now_us));
            self.sweep_at = (self.kept.len() * 2).clamp(SWEEP_MIN.min(self.max), self.max);
            if self.kept.len() >= self.max {
                self.without_room += 1;
                return None;
            }
        }
        Some(self.kept.entry(whose).or_insert([Bucket::default(); N]))
    }

    pub(super) fn without_room(&self) -> u64 {
        self.without_room
    }

    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.kept.len()
    }
}
