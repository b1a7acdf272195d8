//! Spreading things out; no secret comes from here.

/// An xorshift generator, one a shard.
#[derive(Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded() -> Self {
        // Without a seed from the system every shard would only jitter alike.
        Random(getrandom::u64().unwrap_or(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// Up to a tenth less than `ms`.
    pub(crate) fn jittered(&mut self, ms: u64) -> u64 {
        ms - self.next() % (ms / 10 + 1)
    }
}
