//! The open loop: when each message is due does not depend on how the server does.

/// Hands out due times at a fixed rate, µs since the load began. A late caller gets all that became due
/// meanwhile, with the times when they should have gone.
#[derive(Debug)]
pub(crate) struct Pacer {
    interval_us: f64,
    next_us: f64,
}

impl Pacer {
    /// The `index`-th of `count` pacers that make `rate_per_s` together, evenly shifted, from `start_us` on.
    pub(crate) fn new(rate_per_s: f64, index: usize, count: usize, start_us: u64) -> Pacer {
        let interval_us = 1e6 * count as f64 / rate_per_s;
        Pacer { interval_us, next_us: start_us as f64 + interval_us * index as f64 / count as f64 }
    }

    /// The due time of the next message, if it has come.
    pub(crate) fn due(&mut self, now_us: u64) -> Option<u64> {
        if self.next_us > now_us as f64 {
            return None;
        }
        let due = self.next_us;
        self.next_us += self.interval_us;
        Some(due as u64)
    }

    /// Gives up what became due before `then_us` and was not taken.
    pub(crate) fn forget_before(&mut self, then_us: u64) {
        self.next_us = self.next_us.max(then_us as f64);
    }

    /// How long nothing is due, in µs.
    pub(crate) fn wait_us(&self, now_us: u64) -> u64 {
        (self.next_us - now_us as f64).max(0.0) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_caller_gets_the_times_when_they_were_due() {
        let mut pacer = Pacer::new(1000.0, 0, 1, 500);
        assert_eq!(pacer.wait_us(0), 500);
        assert_eq!(pacer.due(499), None);
        let due: Vec<u64> = std::iter::from_fn(|| pacer.due(3_600)).collect();
        assert_eq!(due, [500, 1_500, 2_500, 3_500]);
        assert_eq!(pacer.wait_us(3_600), 900);
    }

    #[test]
    fn two_pacers_share_a_rate() {
        let (mut a, mut b) = (Pacer::new(1000.0, 0, 2, 0), Pacer::new(1000.0, 1, 2, 0));
        let mut due: Vec<u64> = std::iter::from_fn(|| a.due(3_999)).collect();
        due.extend(std::iter::from_fn(|| b.due(3_999)));
        due.sort_unstable();
        assert_eq!(due, [0, 1_000, 2_000, 3_000]);
    }
}
