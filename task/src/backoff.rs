//! How long a failed task waits. Pure: it is given the randomness.
use std::time::Duration;

/// Doubles from failure to failure, up to a bound.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Backoff {
    pub min_ms: u64,
    pub max_ms: u64,
}

impl Backoff {
    /// The wait after this many failures in a row, between half and all of the doubled one. `random` is in 0..1: tasks
    /// that failed together don't come back together.
    pub(crate) fn wait(self, failures: u32, random: f64) -> Duration {
        let doubled = self.min_ms.saturating_mul(1 << failures.saturating_sub(1).min(20));
        let wait_ms = doubled.min(self.max_ms) as f64 * (0.5 + random / 2.0);
        Duration::from_micros((wait_ms * 1000.0) as u64)
    }
}

/// 0..1.
pub(crate) fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_is_spread_over_half_of_it() {
        let backoff = Backoff { min_ms: 100, max_ms: 1000 };
        let waits = |random| (1..=6).map(|n| backoff.wait(n, random).as_millis()).collect::<Vec<_>>();
        assert_eq!(waits(1.0), [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(waits(0.0), [50, 100, 200, 400, 500, 500]);
        assert_eq!(backoff.wait(u32::MAX, 1.0).as_millis(), 1000);
    }
}
