//! The consumer of a group.

use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::Notify;

use super::partition::{Found, Partition};
use super::queue::{Shared, bell};
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
        partitions: Vec<Arc<Partition>>,
        config: ConsumerConfig,
    ) -> Consumer {
        let bell = bell(partitions.iter());
        let generation = group.begin(Some(bell.clone()));
        let cursors = partitions
            .into_iter()
            .map(|partition| Cursor {
                position: partition.committed(&group.name).unwrap_or(0),
                partition,
                paused: false,
            })
            .collect();
        Consumer { shared, group, generation, bell, config, cursors, turn: 0, told: Told::Nothing }
    }

    /// The next event: first `Assigned`, then `Records` with everything there is up to the bounds, at once
    /// or when the first one arrives. After `Revoked` nothing comes any more and this never returns.
    ///
    /// Cancel safe: a call that is dropped has taken nothing.
    pub async fn next(&mut self) -> Event {
        loop {
            if let Some(event) = self.news() {
                return event;
            }
            let records = self.gather();
            if !records.is_empty() {
                return Event::Records(records);
            }
            self.bell.notified().await;
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

    fn gather(&mut self) -> Vec<Record> {
        let mut records = Vec::new();
        let mut max_bytes = self.config.max_bytes;
        let count = self.cursors.len();
        for i in 0..count {
            let cursor = &mut self.cursors[(self.turn + i) % count];
            let room = self.config.max_records.max(1).saturating_sub(records.len());
            if room == 0 {
                break;
            }
            if cursor.paused {
                continue;
            }
            match cursor.partition.read(cursor.position, room, &mut max_bytes, &mut records) {
                Found::Records(n) => cursor.position += n as u64,
                Found::Nothing => {}
                Found::Older(oldest) => cursor.position = oldest,
            }
        }
        if count > 0 {
            self.turn = (self.turn + 1) % count;
        }
        records
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
        }
    }

    /// Records that the group has not committed yet, in all partitions.
    pub fn lag(&self) -> u64 {
        self.cursors.iter().map(|cursor| cursor.partition.lag(&self.group.name)).sum()
    }
}
