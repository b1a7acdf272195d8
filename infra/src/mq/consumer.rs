//! The consumer of a group.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::log::{Log, Older, Wanted};
use super::partition::{Found, Partition, Room};
use super::queue::{Shared, Topic, bell};
use super::{ConsumerConfig, Record, TopicPartition};

/// What a consumer learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// These partitions are yours; each begins at the group's commit.
    Assigned(Vec<TopicPartition>),
    /// These are no longer: finish or drop what you have of them, and don't commit.
    Revoked(Vec<TopicPartition>),
    /// Records, in the order of each partition, never empty.
    Records(Vec<Record>),
}

/// What the consumers of one group share, one after the other.
#[derive(Debug)]
pub(super) struct Group {
    name: Arc<str>,
    /// The consumer in force; those with a lower number are stale.
    generation: AtomicU64,
    /// Rung when the consumer in force is put out.
    bell: Mutex<Option<Arc<Notify>>>,
}

impl Group {
    pub(super) fn new(name: &str) -> Group {
        Group { name: name.into(), generation: AtomicU64::new(0), bell: Mutex::new(None) }
    }

    /// Puts the present consumer out and the next one in; returns its number.
    fn begin(&self, bell: Option<Arc<Notify>>) -> u64 {
        let mut held = self.bell.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation.fetch_add(1, Ordering::AcqRel) + 1;
        if let Some(old) = std::mem::replace(&mut *held, bell) {
            old.notify_one();
        }
        generation
    }

    /// Puts the present consumer out.
    pub(super) fn end(&self) {
        self.begin(None);
    }
}

/// Where a consumer stands in one partition.
#[derive(Debug)]
struct Cursor {
    partition: Arc<Partition>,
    /// Where older records are; `None` when memory is all there is.
    log: Option<Arc<Log>>,
    position: u64,
    paused: bool,
}

/// Reads for a group: all partitions of its topics.
#[derive(Debug)]
pub struct Consumer {
    shared: Arc<Shared>,
    group: Arc<Group>,
    generation: u64,
    bell: Arc<Notify>,
    config: ConsumerConfig,
    cursors: Vec<Cursor>,
    /// Which cursor is asked first, so that one busy partition doesn't starve the others.
    turn: usize,
    told: Told,
}

#[derive(Debug, PartialEq, Eq)]
enum Told {
    Nothing,
    Assigned,
    Revoked,
}

impl Consumer {
    pub(super) fn new(
        shared: Arc<Shared>,
        group: Arc<Group>,
        topics: &[&Topic],
        config: ConsumerConfig,
    ) -> Consumer {
        let bell = bell(topics.iter().flat_map(|topic| &topic.partitions));
        let generation = group.begin(Some(bell.clone()));
        let mut cursors = Vec::new();
        for topic in topics {
            let log = topic.log.as_ref().map(|(log, _)| log);
            cursors.extend(topic.partitions.iter().map(|partition| Cursor {
                position: partition.begin_group(&group.name),
                partition: partition.clone(),
                log: log.cloned(),
                paused: false,
            }));
        }
        Consumer { shared, group, generation, bell, config, cursors, turn: 0, told: Told::Nothing }
    }

    /// The next event: first `Assigned`, then `Records` with everything there is up to the bounds, at once
    /// or when the first one arrives. After `Revoked` nothing comes any more and this never returns.
    ///
    /// Cancel safe: a call that is dropped has taken nothing.
    pub async fn next(&mut self) -> Event {
        // A consumer far behind never waits: without this it would keep a runtime's thread to itself.
        tokio::task::coop::consume_budget().await;
        loop {
            if let Some(event) = self.news() {
                return event;
            }
            match self.gather() {
                Gathered::Records(records) => return Event::Records(records),
                Gathered::Nothing => self.bell.notified().await,
                Gathered::Older(index) => {
                    if let Some(records) = self.read_older(index).await {
                        return Event::Records(records);
                    }
                }
            }
        }
    }

    /// Changes of the assignment, told once.
    fn news(&mut self) -> Option<Event> {
        let all = || self.cursors.iter().map(|cursor| cursor.partition.tp).collect();
        if self.told == Told::Nothing {
            let event = Event::Assigned(all());
            self.told = Told::Assigned;
            return Some(event);
        }
        if self.told == Told::Assigned && self.is_stale() {
            let event = Event::Revoked(all());
            self.told = Told::Revoked;
            for cursor in &mut self.cursors {
                cursor.paused = true;
            }
            return Some(event);
        }
        None
    }

    fn is_stale(&self) -> bool {
        self.group.generation.load(Ordering::Acquire) != self.generation
    }

    /// Takes what is in memory; if the first partition with anything has it only in the files, says so.
    fn gather(&mut self) -> Gathered {
        let mut records = Vec::new();
        let mut room = self.room();
        let count = self.cursors.len();
        let first = self.turn;
        for index in (0..count).map(|i| (first + i) % count) {
            let cursor = &mut self.cursors[index];
            if cursor.paused {
                continue;
            }
            let mut found = cursor.partition.read(cursor.position, &mut room, &mut records);
            if let (Found::Older(oldest), None) = (&found, &cursor.log) {
                self.shared.counts.lost_records.inc_by(oldest.saturating_sub(cursor.position));
                cursor.position = *oldest;
                found = cursor.partition.read(cursor.position, &mut room, &mut records);
            }
            match found {
                Found::Records(count) => cursor.position += count as u64,
                Found::Older(_) if records.is_empty() => {
                    self.turn = (index + 1) % count;
                    return Gathered::Older(index);
                }
                Found::Older(_) | Found::Nothing => {}
                Found::Full => break,
            }
        }
        if records.is_empty() {
            return Gathered::Nothing;
        }
        self.turn = (first + 1) % count;
        Gathered::Records(records)
    }

    fn room(&self) -> Room {
        Room { records: self.config.max_records.max(1), bytes: self.config.max_bytes }
    }

    /// Reads from the files; `None` when what stood at the position was deleted. The position moves only
    /// with the records in hand.
    async fn read_older(&mut self, index: usize) -> Option<Vec<Record>> {
        let cursor = &self.cursors[index];
        let older = older(&self.shared, &cursor.log, &cursor.partition, cursor.position, self.room()).await;
        let cursor = &mut self.cursors[index];
        match older {
            Older::Records(records) => {
                cursor.position += records.len() as u64;
                Some(records)
            }
            Older::Deleted(oldest) => {
                self.shared.counts.lost_records.inc_by(oldest.saturating_sub(cursor.position));
                cursor.position = oldest;
                None
            }
        }
    }

    fn cursor(&mut self, tp: &TopicPartition) -> Option<&mut Cursor> {
        self.cursors.iter_mut().find(|cursor| cursor.partition.tp == *tp)
    }

    /// Leaves a partition out of the next events until it is resumed. Nothing happens for one that isn't assigned.
    pub fn pause(&mut self, tp: &TopicPartition) {
        if let Some(cursor) = self.cursor(tp) {
            cursor.paused = true;
        }
    }

    /// Takes a paused partition in again.
    pub fn resume(&mut self, tp: &TopicPartition) {
        let stale = self.told == Told::Revoked;
        if let Some(cursor) = self.cursor(tp) {
            cursor.paused = stale;
        }
    }

    /// Goes on reading a partition at this offset.
    pub fn seek(&mut self, tp: &TopicPartition, offset: u64) {
        if let Some(cursor) = self.cursor(tp) {
            cursor.position = offset;
        }
    }

    /// Notes that the group is done with everything below `next_offset`; it reaches the disk within
    /// `offsets_flush_ms`. A stale consumer's commit is ignored, and so is one that goes back.
    pub fn commit(&self, tp: &TopicPartition, next_offset: u64) {
        if self.is_stale() {
            return;
        }
        if let Some(cursor) = self.cursors.iter().find(|cursor| cursor.partition.tp == *tp) {
            cursor.partition.commit(&self.group.name, next_offset);
            self.shared.signal.ring();
        }
    }

    /// Records that the group has not committed yet, in all partitions.
    pub fn lag(&self) -> u64 {
        self.cursors.iter().map(|cursor| cursor.partition.lag(&self.group.name)).sum()
    }
}

enum Gathered {
    Records(Vec<Record>),
    Nothing,
    /// The cursor of this index has to read from the files.
    Older(usize),
}

/// Reads from the log's files, off the runtime's threads. When that fails the process can't go on: what was
/// acknowledged can't be read. The fatal handler is called, and if it comes back this never returns.
pub(super) async fn older(
    shared: &Arc<Shared>,
    log: &Option<Arc<Log>>,
    partition: &Arc<Partition>,
    position: u64,
    room: Room,
) -> Older {
    let Some(log) = log.clone() else { return Older::Deleted(position) };
    let wanted =
        Wanted { partition: partition.clone(), position, max_records: room.records, max_bytes: room.bytes };
    let read = tokio::task::spawn_blocking(move || log.read_older(&wanted)).await;
    match read {
        Ok(Ok(older)) => return older,
        Ok(Err(error)) => (shared.config.on_fatal.0)(&error.to_string()),
        // The runtime is ending, or reading panicked and said so.
        Err(_) => {}
    }
    std::future::pending().await
}
