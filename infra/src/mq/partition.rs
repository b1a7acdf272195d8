//! One partition: its newest records in memory, where the older ones are, who is done with what, and who
//! waits for more.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};

use bytes::Bytes;
use tokio::sync::Notify;

use super::log::unix_ms;
use super::{Record, TopicPartition, cost_bytes};

/// Places in the log are noted this many bytes apart, so a reader skips at most about so much.
const PLACE_EVERY_BYTES: u64 = 64 << 10;

/// How many records and bytes of a partition stay in memory.
#[derive(Debug, Clone, Copy)]
pub(super) struct MemoryBound {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

#[derive(Debug)]
pub(super) struct Partition {
    pub(super) tp: TopicPartition,
    /// Whether older records are in the log; otherwise memory is all there is.
    durable: bool,
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
    /// Where records are in the log, oldest first.
    places: VecDeque<Place>,
    /// When records came, roughly.
    times: Times,
    /// How far each group is done.
    groups: Vec<(Arc<str>, u64)>,
    /// How far each tail has read. Tails of a durable partition hold nothing back.
    tails: Vec<(u64, u64)>,
    tails_made: u64,
    /// Woken when records arrive.
    waiters: Vec<Weak<Notify>>,
}

/// A batch with records of the partition.
#[derive(Debug, Clone, Copy)]
struct Place {
    offset: u64,
    /// The segment, by its first batch.
    segment: u64,
    at: u64,
}

/// When records came: marks at some of them, oldest first.
#[derive(Debug, Default)]
struct Times {
    /// Offset and Unix milliseconds.
    marks: VecDeque<(u64, u64)>,
    /// Marks are at least so far apart: this doubles whenever there are too many.
    every_ms: u64,
}

impl Times {
    const MARKS_MAX: usize = 256;
    const EVERY_MS_MIN: u64 = 100;

    fn note(&mut self, offset: u64, unix_ms: u64) {
        if self.marks.back().is_some_and(|(_, last)| unix_ms < last + self.every_ms) {
            return;
        }
        if self.marks.len() >= Times::MARKS_MAX {
            let mut keep = false;
            self.marks.retain(|_| {
                keep = !keep;
                keep
            });
            self.every_ms *= 2;
        } else if self.marks.len() <= Times::MARKS_MAX / 4 {
            self.every_ms = Times::EVERY_MS_MIN;
        }
        self.marks.push_back((offset, unix_ms));
    }

    /// When this record came, or one shortly before it.
    fn of(&self, offset: u64) -> Option<u64> {
        let after = self.marks.partition_point(|(marked, _)| *marked <= offset);
        self.marks.get(after.saturating_sub(1)).map(|(_, unix_ms)| *unix_ms)
    }

    /// Nobody will ask for what lies below.
    fn forget(&mut self, below: u64) {
        while self.marks.get(1).is_some_and(|(offset, _)| *offset <= below) {
            self.marks.pop_front();
        }
    }
}

/// What a group has not committed in a partition.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Backlog {
    pub(super) records: u64,
    /// When the oldest of them came, in Unix milliseconds; `None` when there are none.
    pub(super) since_unix_ms: Option<u64>,
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
    /// The next record doesn't fit any more.
    Full,
    /// The records there are not in memory; the oldest in memory is this.
    Older(u64),
}

/// How much a reader still takes.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) records: usize,
    pub(super) bytes: usize,
}

impl Partition {
    pub(super) fn new(tp: TopicPartition, durable: bool, bound: MemoryBound) -> Partition {
        Partition { tp, durable, bound, state: Mutex::default() }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds records, lets go of the oldest beyond the bound and returns the offset of the first one added.
    /// `place` is the segment and place of their batch.
    pub(super) fn publish(&self, records: impl Iterator<Item = Stored>, place: Option<(u64, u64)>) -> u64 {
        let mut state = self.lock();
        let first = state.next;
        state.times.note(first, unix_ms());
        for record in records {
            state.memory_bytes += cost_bytes(&record.key, &record.value);
            state.memory.push_back(record);
            state.next += 1;
        }
        if let Some((segment, at)) = place {
            state.note_place(first, segment, at);
        }
        while state.memory.len() > self.bound.records || state.memory_bytes > self.bound.bytes {
            state.drop_oldest();
        }
        for waiter in state.waiters.iter().filter_map(Weak::upgrade) {
            waiter.notify_one();
        }
        first
    }

    /// Copies records from `position` on, while there is room; the first one in the list always fits.
    pub(super) fn read(&self, position: u64, room: &mut Room, into: &mut Vec<Record>) -> Found {
        let state = self.lock();
        let oldest = state.oldest_in_memory();
        if position >= state.next {
            return Found::Nothing;
        }
        if position < oldest {
            return Found::Older(oldest);
        }
        let before = into.len();
        for (offset, stored) in (position..).zip(state.memory.range((position - oldest) as usize..)) {
            let cost = cost_bytes(&stored.key, &stored.value);
            let fits = into.is_empty() || (room.records > 0 && cost <= room.bytes);
            if !fits {
                break;
            }
            room.records = room.records.saturating_sub(1);
            room.bytes = room.bytes.saturating_sub(cost);
            let (key, value) = (stored.key.clone(), stored.value.clone());
            into.push(Record { topic: self.tp.topic, partition: self.tp.partition, offset, key, value });
        }
        match into.len() - before {
            0 => Found::Full,
            count => Found::Records(count),
        }
    }

    /// Says whose readers to wake when records arrive.
    pub(super) fn wake_for(&self, reader: &Arc<Notify>) {
        let mut state = self.lock();
        state.waiters.retain(|waiter| waiter.strong_count() > 0);
        state.waiters.push(Arc::downgrade(reader));
    }

    /// Begins a tail at the end; returns its number and position.
    pub(super) fn begin_tail(&self) -> (u64, u64) {
        let mut state = self.lock();
        let (number, position) = (state.tails_made, state.next);
        state.tails_made += 1;
        state.tails.push((number, position));
        (number, position)
    }

    /// Notes how far a tail has read; `None` when it ends.
    pub(super) fn move_tail(&self, number: u64, position: Option<u64>) {
        let mut state = self.lock();
        match position {
            None => state.tails.retain(|(other, _)| *other != number),
            Some(position) => {
                if let Some(tail) = state.tails.iter_mut().find(|(other, _)| *other == number) {
                    tail.1 = position;
                }
            }
        }
        self.let_go(&mut state);
    }

    /// A group begins: where it has committed, or with the oldest record there is.
    pub(super) fn begin_group(&self, group: &Arc<str>) -> u64 {
        let mut state = self.lock();
        if let Some((_, next)) = state.groups.iter().find(|(name, _)| name == group) {
            return *next;
        }
        let oldest = match self.durable {
            true => state.oldest_stored(),
            false => state.oldest_in_memory(),
        };
        state.groups.push((group.clone(), oldest));
        oldest
    }

    /// Notes that a group is done below `next`. A group never goes back: what it is done with may be gone.
    pub(super) fn commit(&self, group: &str, next: u64) {
        let mut state = self.lock();
        let next = next.min(state.next);
        match state.groups.iter_mut().find(|(name, _)| **name == *group) {
            Some((_, done)) => *done = next.max(*done),
            None => state.groups.push((group.into(), next)),
        }
        self.let_go(&mut state);
    }

    /// Drops records from memory that no reader needs there.
    fn let_go(&self, state: &mut State) {
        let tails = state.tails.iter().filter(|_| !self.durable).map(|(_, position)| *position);
        let done = state.groups.iter().map(|(_, done)| *done).chain(tails).min();
        let Some(done) = done else { return };
        state.times.forget(done);
        while state.oldest_in_memory() < done && !state.memory.is_empty() {
            state.drop_oldest();
        }
    }

    pub(super) fn next_offset(&self) -> u64 {
        self.lock().next
    }

    /// What each group has still to do.
    pub(super) fn backlogs(&self) -> Vec<(Arc<str>, Backlog)> {
        let state = self.lock();
        let backlog = |(group, done): &(Arc<str>, u64)| {
            let records = state.next.saturating_sub(*done);
            let since_unix_ms = if records > 0 { state.times.of(*done) } else { None };
            (group.clone(), Backlog { records, since_unix_ms })
        };
        state.groups.iter().map(backlog).collect()
    }

    /// How far the slowest tail is behind; `None` without a tail.
    pub(super) fn tail_lag(&self) -> Option<u64> {
        let state = self.lock();
        state.tails.iter().map(|(_, position)| state.next.saturating_sub(*position)).max()
    }

    /// Records and bytes in memory.
    pub(super) fn in_memory(&self) -> (usize, usize) {
        let state = self.lock();
        (state.memory.len(), state.memory_bytes)
    }

    /// What the groups have committed.
    pub(super) fn commits(&self) -> Vec<(Arc<str>, u64)> {
        self.lock().groups.clone()
    }

    pub(super) fn lag(&self, group: &str) -> u64 {
        let state = self.lock();
        let done = state.groups.iter().find(|(name, _)| **name == *group).map_or(0, |(_, next)| *next);
        state.next - done
    }
}

impl State {
    pub(super) fn next_offset(&self) -> u64 {
        self.next
    }

    /// Begins where the log ends.
    pub(super) fn start_at(&mut self, next: u64) {
        self.next = next;
    }

    fn oldest_in_memory(&self) -> u64 {
        self.next - self.memory.len() as u64
    }

    /// The oldest record that is still in the log.
    pub(super) fn oldest_stored(&self) -> u64 {
        self.places.front().map_or(self.next, |place| place.offset)
    }

    /// Every group is done with everything below this.
    pub(super) fn done_below(&self) -> u64 {
        self.groups.iter().map(|(_, done)| *done).min().unwrap_or(0)
    }

    /// Notes that a batch begins with this offset, unless a place close before it is known.
    pub(super) fn note_place(&mut self, offset: u64, segment: u64, at: u64) {
        let close = |last: &Place| last.segment == segment && at - last.at < PLACE_EVERY_BYTES;
        if !self.places.back().is_some_and(close) {
            self.places.push_back(Place { offset, segment, at });
        }
    }

    /// Notes when the record of this offset came.
    pub(super) fn note_time(&mut self, offset: u64, unix_ms: u64) {
        self.times.note(offset, unix_ms);
    }

    /// The segment and place from where to look for a record; `None` when it is deleted.
    pub(super) fn place_of(&self, offset: u64) -> Option<(u64, u64)> {
        let after = self.places.partition_point(|place| place.offset <= offset);
        let place = self.places.get(after.checked_sub(1)?)?;
        Some((place.segment, place.at))
    }

    /// A segment is deleted, and with it all older ones.
    pub(super) fn forget_places(&mut self, segment: u64) {
        while self.places.front().is_some_and(|place| place.segment <= segment) {
            self.places.pop_front();
        }
    }

    fn drop_oldest(&mut self) {
        if let Some(record) = self.memory.pop_front() {
            self.memory_bytes -= cost_bytes(&record.key, &record.value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_a_record_is_known_roughly_and_within_a_bound() {
        let mut times = Times::default();
        assert_eq!(times.of(5), None);
        for n in 0..100_000 {
            times.note(n, 1_000 + n * 10);
            assert!(times.marks.len() <= Times::MARKS_MAX);
        }
        for offset in [0, 1, 50_000, 99_999] {
            let (real, told) = (1_000 + offset * 10, times.of(offset).unwrap());
            assert!(told <= real, "{offset}: never younger than it is");
            // About a hundredth of the whole time.
            assert!(real - told <= 10_000, "{offset}: {told} for {real}");
        }
        times.forget(60_000);
        assert!(times.of(60_000).unwrap() <= 601_000 && times.marks.len() < Times::MARKS_MAX);
        times.forget(u64::MAX);
        assert_eq!(times.marks.len(), 1);
    }
}
