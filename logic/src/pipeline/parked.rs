//! Records that wait for another attempt. Their partition is paused meanwhile, so at most what one batch had
//! taken from it waits here. Pure: it is given the time and the randomness.
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use gochat_infra::mq::Record;

struct Parked {
    records: Vec<Record>,
    due: Instant,
}

/// Parked records by partition, and how often each partition failed in a row.
pub(crate) struct ParkedRecords {
    parked: BTreeMap<u32, Parked>,
    failures: BTreeMap<u32, u32>,
    backoff_min_ms: u64,
    backoff_max_ms: u64,
}

impl ParkedRecords {
    pub(crate) fn new(backoff_min_ms: u64, backoff_max_ms: u64) -> Self {
        Self { parked: BTreeMap::new(), failures: BTreeMap::new(), backoff_min_ms, backoff_max_ms }
    }

    /// Parks the records of a partition that failed. `random` is in 0..1. Returns the failures in a row.
    pub(crate) fn park(&mut self, partition: u32, records: Vec<Record>, now: Instant, random: f64) -> u32 {
        let failures = self.failures.entry(partition).or_default();
        *failures += 1;
        let doubled = self.backoff_min_ms.saturating_mul(1 << (*failures - 1).min(20));
        let wait_ms = doubled.min(self.backoff_max_ms) as f64 * (0.5 + random / 2.0);
        let due = now + Duration::from_micros((wait_ms * 1000.0) as u64);
        self.parked.insert(partition, Parked { records, due });
        *failures
    }

    /// Records that came for a parked partition all the same wait behind those that are there; the others come back.
    pub(crate) fn queue_behind(&mut self, records: Vec<Record>) -> Vec<Record> {
        if self.parked.is_empty() {
            return records;
        }
        let mut free = Vec::with_capacity(records.len());
        for record in records {
            match self.parked.get_mut(&record.partition) {
                Some(parked) => parked.records.push(record),
                None => free.push(record),
            }
        }
        free
    }

    /// When the next partition is due.
    pub(crate) fn next_due(&self) -> Option<Instant> {
        self.parked.values().map(|parked| parked.due).min()
    }

    /// Takes the partitions that are due, as long as they fit into `records_max`; at least one.
    pub(crate) fn take_due(&mut self, now: Instant, records_max: usize) -> Vec<Record> {
        let mut taken = Vec::new();
        while let Some(partition) = self.parked.iter().find(|(_, p)| p.due <= now).map(|(n, _)| *n) {
            let fits = self.parked[&partition].records.len() + taken.len() <= records_max;
            if !taken.is_empty() && !fits {
                break;
            }
            if let Some(parked) = self.parked.remove(&partition) {
                taken.extend(parked.records);
            }
        }
        taken
    }

    /// All records of a partition are finished. True when it had failed before.
    pub(crate) fn recovered(&mut self, partition: u32) -> bool {
        self.failures.remove(&partition).is_some()
    }

    /// Somebody else has the partition now.
    pub(crate) fn forget(&mut self, partition: u32) {
        self.parked.remove(&partition);
        self.failures.remove(&partition);
    }

    /// The longest row of failures.
    pub(crate) fn failures(&self) -> u32 {
        self.failures.values().copied().max().unwrap_or(0)
    }

    pub(crate) fn len(&self) -> usize {
        self.parked.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: u32, offset: u64) -> Record {
        Record { topic: "t", partition, offset, key: "k".into(), value: "v".into() }
    }

    #[test]
    fn the_wait_doubles_up_to_its_bound_and_starts_anew_after_a_success() {
        let mut parked = ParkedRecords::new(50, 1000);
        let now = Instant::now();
        let mut waits = |random| {
            (0..7)
                .map(|_| {
                    parked.park(1, vec![record(1, 0)], now, random);
                    let wait = parked.next_due().unwrap() - now;
                    parked.take_due(now + wait, 10);
                    wait.as_millis()
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(waits(1.0), [50, 100, 200, 400, 800, 1000, 1000]);
        assert_eq!(waits(0.0), [500; 7]);
        assert!(parked.recovered(1) && !parked.recovered(1));
        assert_eq!(parked.park(1, vec![], now, 0.0), 1);
    }

    #[test]
    fn later_records_of_a_parked_partition_stay_behind_it() {
        let mut parked = ParkedRecords::new(50, 1000);
        let now = Instant::now();
        parked.park(1, vec![record(1, 0)], now, 1.0);
        let free = parked.queue_behind(vec![record(1, 1), record(2, 7), record(1, 2)]);
        assert_eq!(free, [record(2, 7)]);
        assert!(parked.take_due(now, 10).is_empty(), "not due yet");
        let taken = parked.take_due(now + Duration::from_secs(1), 1);
        assert_eq!(taken, [record(1, 0), record(1, 1), record(1, 2)]);
    }

    #[test]
    fn what_is_due_together_is_taken_together_within_the_bound() {
        let mut parked = ParkedRecords::new(50, 1000);
        let now = Instant::now();
        for partition in 0..3 {
            parked.park(partition, vec![record(partition, 0), record(partition, 1)], now, 1.0);
        }
        let later = now + Duration::from_secs(2);
        assert_eq!(parked.take_due(later, 4).len(), 4);
        assert_eq!(parked.take_due(later, 4).len(), 2);
        assert_eq!(parked.len(), 0);
        assert_eq!(parked.failures(), 1);
    }
}
