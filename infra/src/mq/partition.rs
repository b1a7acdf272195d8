//! One partition: its newest records in memory, who is done with what, and who waits for more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{Record, TopicPartition, cost_bytes};

/// How many records and bytes of a partition stay in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemoryBound {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) tp: TopicPartition,
    bound: MemoryBound,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// The offset of the next record. What lies below is written, or dropped.
    next: u64,
    /// The newest records, up to `next - 1` without gaps.
    memory: VecDeque<Stored>,
    memory_bytes: usize,
    /// How far each group is done.
    groups: Vec<(Arc<str>, u64)>,
    /// Woken when records arrive.
    waiters: Vec<Weak<Notify>>,
}

/// A record without its address.
#[derive(Debug, Clone)]
pub(super) struct Stored {
    pub(super) key: Bytes,
    pub(super) value: Bytes,
}

/// What a reader finds at a position.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Found {
    /// This many records were added to the reader's list.
    Records(usize),
    /// Nothing beyond the position yet.
    Nothing,
    /// The records there are no longer in memory; the oldest in memory is this.
    Older(u64),
}

impl Partition {
    pub(super) fn new(tp: TopicPartition, bound: MemoryBound) -> Partition {
        Partition { tp, bound, state: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records, drops the oldest beyond the bound and returns the offset of the first one added.
    pub(super) fn publish(&self, records: impl Iterator<Item = Stored>) -> u64 {
        let mut state = self.lock();
        let first = state.next;
        for record in records {
            state.memory_bytes += cost_bytes(&record.key, &record.value);
            state.memory.push_back(record);
            state.next += 1;
        }
        while state.memory.len() > self.bound.records || state.memory_bytes > self.bound.bytes {
            state.drop_oldest();
        }
        state.wake();
        first
    }

    /// Copies records from `position` on, while they fit.
    pub(super) fn read(
        &self,
        position: u64,
        max_records: usize,
        max_bytes: &mut usize,
        into: &mut Vec<Record>,
    ) -> Found {
        let state = self.lock();
        let oldest = state.oldest();
        if position >= state.next {
            return Found::Nothing;
        }
        if position < oldest {
            return Found::Older(oldest);
        }
        let before = into.len();
        for (i, stored) in state.memory.range((position - oldest) as usize..).take(max_records).enumerate() {
            let cost = cost_bytes(&stored.key, &stored.value);
            if cost > *max_bytes && !into.is_empty() {
                break;
            }
            *max_bytes = max_bytes.saturating_sub(cost);
            into.push(Record {
                topic: self.tp.topic,
                partition: self.tp.partition,
                offset: position + i as u64,
                key: stored.key.clone(),
                value: stored.value.clone(),
            });
        }
        Found::Records(into.len() - before)
    }

    /// Says whose readers to wake when records arrive.
    pub(super) fn wake_for(&self, reader: &Arc<Notify>) {
        let mut state = self.lock();
        state.waiters.retain(|waiter| waiter.strong_count() > 0);
        state.waiters.push(Arc::downgrade(reader));
    }

    /// How far a group is done; `None` before its first commit.
    pub(super) fn committed(&self, group: &str) -> Option<u64> {
        self.lock().groups.iter().find(|(name, _)| **name == *group).map(|(_, next)| *next)
    }

    /// Notes that a group is done below `next`, and lets go of records that no group needs. A group never
    /// goes back: what it is done with may be gone.
    pub(super) fn commit(&self, group: &Arc<str>, next: u64) {
        let mut state = self.lock();
        let next = next.min(state.next);
        match state.groups.iter_mut().find(|(name, _)| name == group) {
            Some((_, done)) => *done = next.max(*done),
            None => state.groups.push((group.clone(), next)),
        }
        let done = state.groups.iter().map(|(_, done)| *done).min().unwrap_or(0);
        while state.oldest() < done {
            state.drop_oldest();
        }
    }

    pub(super) fn next_offset(&self) -> u64 {
        self.lock().next
    }

    pub(super) fn lag(&self, group: &str) -> u64 {
        let state = self.lock();
        let done = state.groups.iter().find(|(name, _)| **name == *group).map_or(0, |(_, next)| *next);
        state.next - done
    }
}

impl State {
    fn oldest(&self) -> u64 {
        self.next - self.memory.len() as u64
    }

    fn drop_oldest(&mut self) {
        if let Some(record) = self.memory.pop_front() {
            self.memory_bytes -= cost_bytes(&record.key, &record.value);
        }
    }

    fn wake(&self) {
        for waiter in self.waiters.iter().filter_map(Weak::upgrade) {
            waiter.notify_one();
        }
    }
}
