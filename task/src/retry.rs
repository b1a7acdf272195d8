//! When a partition is tried again. Pure: it is given the time.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

struct Wait {
    failures: u32,
    /// `None` while the next attempt is under way.
    due: Option<Instant>,
}

/// Partitions with a failed task. Bounded by the number of partitions.
pub(crate) struct Waiting {
    partitions: BTreeMap<u32, Wait>,
    backoff_min_ms: u64,
    backoff_max_ms: u64,
}

impl Waiting {
    pub(crate) fn new(backoff_min_ms: u64, backoff_max_ms: u64) -> Self {
        Self { partitions: BTreeMap::new(), backoff_min_ms, backoff_max_ms }
    }

    /// Notes a failure; returns how many there were in a row.
    pub(crate) fn failed(&mut self, partition: u32, now: Instant) -> u32 {
        let wait = self.partitions.entry(partition).or_insert(Wait { failures: 0, due: None });
        wait.failures += 1;
        let doubled = self.backoff_min_ms.saturating_mul(1 << (wait.failures - 1).min(20));
        wait.due = Some(now + Duration::from_millis(doubled.min(self.backoff_max_ms)));
        wait.failures
    }

    /// A task was done: the next failure is a first one again.
    pub(crate) fn succeeded(&mut self, partition: u32) {
        self.partitions.remove(&partition);
    }

    /// When the next partition is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.partitions.values().filter_map(|wait| wait.due).min()
    }

    /// A partition that is due, each one once.
    pub(crate) fn take_due(&mut self, now: Instant) -> Option<u32> {
        let (partition, wait) =
            self.partitions.iter_mut().find(|(_, wait)| wait.due.is_some_and(|due| due <= now))?;
        wait.due = None;
        Some(*partition)
    }

    /// Partitions that wait now.
    pub(crate) fn len(&self) -> usize {
        self.partitions.values().filter(|wait| wait.due.is_some()).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_a_success_ends_the_row() {
        let mut waiting = Waiting::new(100, 1000);
        let now = Instant::now();
        for expect in [100, 200, 400, 800, 1000, 1000] {
            waiting.failed(3, now);
            let due = waiting.next_due().unwrap();
            assert_eq!((due - now).as_millis(), expect);
            assert_eq!(waiting.take_due(now), None);
            assert_eq!(waiting.take_due(due), Some(3));
            assert_eq!(waiting.take_due(due), None, "once");
        }
        waiting.succeeded(3);
        assert_eq!(waiting.failed(3, now), 1);
        assert_eq!(waiting.len(), 1);
    }
}
