//! Which task runs when: those of one key after the other, those of different keys at the same time; and up to where
//! a partition is done. Pure.
use std::collections::{BTreeSet, HashMap, VecDeque};

use bytes::Bytes;
use gochat_infra::mq::Record;

/// Tasks that were taken and are not done. The first one of each key is under way.
#[derive(Default)]
pub(crate) struct Lanes {
    by_key: HashMap<Bytes, VecDeque<Record>>,
    records: usize,
    bytes: usize,
    partitions: HashMap<u32, Prefix>,
}

/// How far a partition is done.
#[derive(Default)]
struct Prefix {
    /// Everything below is done.
    next: u64,
    /// What is done above it.
    ahead: BTreeSet<u64>,
}

fn bytes_of(record: &Record) -> usize {
    record.key.len() + record.value.len()
}

impl Lanes {
    /// Takes a record in; returns it to be started when its key is idle.
    pub(crate) fn add(&mut self, record: Record) -> Option<Record> {
        self.records += 1;
        self.bytes += bytes_of(&record);
        let begin = || Prefix { next: record.offset, ahead: BTreeSet::new() };
        self.partitions.entry(record.partition).or_insert_with(begin);
        let lane = self.by_key.entry(record.key.clone()).or_default();
        lane.push_back(record);
        if lane.len() == 1 { lane.front().cloned() } else { None }
    }

    /// The running task of a key is done: returns the next one of that key, to be started.
    pub(crate) fn finish(&mut self, done: &Record) -> Option<Record> {
        self.records -= 1;
        self.bytes -= bytes_of(done);
        if let Some(prefix) = self.partitions.get_mut(&done.partition) {
            prefix.ahead.insert(done.offset);
            while prefix.ahead.remove(&prefix.next) {
                prefix.next += 1;
            }
        }
        let lane = self.by_key.get_mut(&done.key)?;
        lane.pop_front();
        let next = lane.front().cloned();
        if next.is_none() {
            self.by_key.remove(&done.key);
        }
        next
    }

    /// What may be committed of a partition: everything below is done.
    pub(crate) fn done_below(&self, partition: u32) -> Option<u64> {
        self.partitions.get(&partition).map(|prefix| prefix.next)
    }

    /// Tasks that are done but cannot be committed, because one before them in the partition is not done.
    pub(crate) fn ahead(&self, partition: u32) -> usize {
        self.partitions.get(&partition).map_or(0, |prefix| prefix.ahead.len())
    }

    /// The same of all partitions.
    pub(crate) fn all_ahead(&self) -> usize {
        self.partitions.values().map(|prefix| prefix.ahead.len()).sum()
    }

    /// Keys with a task.
    pub(crate) fn keys(&self) -> usize {
        self.by_key.len()
    }

    /// Forgets everything: other hands will do it.
    pub(crate) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(crate) fn records(&self) -> usize {
        self.records
    }

    /// Bytes of keys and values.
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(partition: u32, offset: u64, key: &'static str) -> Record {
        Record { topic: "t", partition, offset, key: key.into(), value: "v".into() }
    }

    #[test]
    fn a_key_has_one_task_under_way_and_other_keys_go_on() {
        let mut lanes = Lanes::default();
        assert_eq!(lanes.add(record(0, 5, "a")), Some(record(0, 5, "a")));
        assert_eq!(lanes.add(record(0, 6, "a")), None);
        assert_eq!(lanes.add(record(0, 7, "b")), Some(record(0, 7, "b")));
        assert_eq!((lanes.records(), lanes.bytes()), (3, 6));
        assert_eq!(lanes.finish(&record(0, 7, "b")), None);
        assert_eq!((lanes.done_below(0), lanes.ahead(0)), (Some(5), 1));
        assert_eq!(lanes.finish(&record(0, 5, "a")), Some(record(0, 6, "a")));
        assert_eq!((lanes.done_below(0), lanes.ahead(0)), (Some(6), 1));
        assert_eq!(lanes.finish(&record(0, 6, "a")), None);
        assert_eq!((lanes.done_below(0), lanes.ahead(0)), (Some(8), 0));
        assert_eq!((lanes.records(), lanes.bytes(), lanes.by_key.len()), (0, 0, 0));
        assert_eq!(lanes.add(record(0, 8, "a")), Some(record(0, 8, "a")), "an idle key starts at once");
    }

    #[test]
    fn partitions_are_counted_apart() {
        let mut lanes = Lanes::default();
        lanes.add(record(0, 1, "a"));
        lanes.add(record(1, 9, "b"));
        lanes.finish(&record(1, 9, "b"));
        assert_eq!(
            (lanes.done_below(0), lanes.done_below(1), lanes.done_below(2)),
            (Some(1), Some(10), None)
        );
    }
}
