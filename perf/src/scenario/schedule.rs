//! The open loop for things that are done one after the other: some threads share one list of due times.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Due times at a fixed rate, from a moment to another.
#[derive(Debug)]
pub(super) struct Schedule {
    began: Instant,
    lasting: Duration,
    /// `None`: the next thing is due whenever a thread is free, a closed loop.
    interval: Option<Duration>,
    handed_out: AtomicU64,
}

impl Schedule {
    pub(super) fn new(began: Instant, lasting: Duration, rate_per_s: Option<f64>) -> Schedule {
        let interval = rate_per_s.map(|rate| Duration::from_secs_f64(1.0 / rate));
        Schedule { began, lasting, interval, handed_out: AtomicU64::new(0) }
    }

    /// Waits until the next thing is due, and returns its number and when that was: in the past, if all threads were busy
    /// then. `None`: it is over.
    pub(super) fn wait_due(&self) -> Option<(u64, Instant)> {
        let number = self.handed_out.fetch_add(1, Ordering::Relaxed);
        let after = match self.interval {
            Some(interval) => interval.mul_f64(number as f64),
            None => self.began.elapsed(),
        };
        if after >= self.lasting {
            return None;
        }
        let due = self.began + after;
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        Some((number, due))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_due_while_nobody_came_keeps_its_time() {
        let began = Instant::now().checked_sub(Duration::from_secs(10)).unwrap_or_else(Instant::now);
        let schedule = Schedule::new(began, Duration::from_secs(1), Some(4.0));
        let due: Vec<u128> =
            std::iter::from_fn(|| schedule.wait_due()).map(|(_, due)| (due - began).as_millis()).collect();
        assert_eq!(due, [0, 250, 500, 750], "and none at the very end");
    }

    #[test]
    fn a_closed_loop_ends_in_time() {
        let now = Instant::now();
        let (number, due) = Schedule::new(now, Duration::from_secs(60), None).wait_due().unwrap();
        assert!(number == 0 && due >= now);
        assert_eq!(Schedule::new(now, Duration::ZERO, None).wait_due(), None);
    }
}
