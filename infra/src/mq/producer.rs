//! Sending.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::Bytes;

use super::murmur2::partition_of;
use super::partition::Stored;
use super::queue::{Shared, Topic};
use super::{Position, SendError};

/// Where a record goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    /// By the hash of its key, as Kafka does; without a key to any partition in turn.
    ByKey,
    /// To this one.
    Partition(u32),
}

/// A record to send. The queue keeps the bytes as they are: slices of larger buffers hold these in memory.
#[derive(Debug, Clone)]
pub struct Outgoing {
    /// The topic's name.
    pub topic: &'static str,
    /// Where it goes.
    pub target: Target,
    /// What it is partitioned by; may be empty.
    pub key: Bytes,
    /// The payload.
    pub value: Bytes,
}

/// The sending side. Clones share it; any thread may send.
#[derive(Debug, Clone)]
pub struct Producer {
    shared: Arc<Shared>,
}

impl Producer {
    pub(super) fn new(shared: Arc<Shared>) -> Producer {
        Producer { shared }
    }

    /// Takes a record, never waiting. `done` is called once, with where it was written or why not: for a
    /// durable topic by the log's thread after the fsync, so it must be short and not block; for a topic in
    /// memory before this returns.
    ///
    /// The records of one thread to one partition keep their order. A durable record is shown to
    /// consumers after its `done` was called.
    ///
    /// # Errors
    /// When it was not taken; `done` is then not called.
    pub fn send(
        &self,
        record: Outgoing,
        done: impl FnOnce(Result<Position, SendError>) + Send + 'static,
    ) -> Result<(), SendError> {
        let topic = self.shared.topic(record.topic).ok_or(SendError::UnknownTopic(record.topic))?;
        let partition = target(topic, &record)?;
        let bytes = record.key.len() + record.value.len();
        let counts = &self.shared.counts;
        if bytes > self.shared.config.record_max_bytes {
            counts.refused_too_large.inc();
            return Err(SendError::TooLarge(bytes));
        }
        let stored = Stored { key: record.key, value: record.value };
        if let Some((log, first_slot)) = &topic.log {
            return log.append(first_slot + partition, stored, Box::new(done));
        }
        if self.shared.closed.load(Ordering::Acquire) {
            counts.refused_closed.inc();
            return Err(SendError::Closed);
        }
        let offset = topic.partitions[partition as usize].publish(std::iter::once(stored), None);
        done(Ok(Position { partition, offset }));
        Ok(())
    }

    /// Sends and waits for where it was written. Dropping the wait doesn't take the record back.
    ///
    /// # Errors
    /// When it was not taken or not written.
    pub async fn send_wait(&self, record: Outgoing) -> Result<Position, SendError> {
        let (sender, receiver) = tokio::sync::oneshot::channel();
        self.send(record, |outcome| {
            // Nobody to tell when the wait was dropped.
            let _ = sender.send(outcome);
        })?;
        receiver.await.unwrap_or(Err(SendError::Closed))
    }

    /// The partition that a key goes to; `None` for an unknown topic.
    pub fn partition(&self, topic: &str, key: &[u8]) -> Option<u32> {
        let topic = self.shared.topic(topic)?;
        Some(partition_of(key, topic.partitions.len() as u32))
    }
}

fn target(topic: &Topic, record: &Outgoing) -> Result<u32, SendError> {
    let partitions = topic.partitions.len() as u32;
    match record.target {
        Target::Partition(partition) if partition < partitions => Ok(partition),
        Target::Partition(_) => Err(SendError::UnknownTopic(topic.name)),
        Target::ByKey if record.key.is_empty() => Ok(topic.turn.fetch_add(1, Ordering::Relaxed) % partitions),
        Target::ByKey => Ok(partition_of(&record.key, partitions)),
    }
}
