//! The message queue: topics of ordered partitions, producers, consumer groups, and tails.
//!
//! This is the embedded queue, for one process with one member a group. Its interface is what Kafka gives:
//! a group's consumer is told what it was assigned, gets records in the order of each partition, may pause,
//! resume and seek partitions, and commits how far it is done. Records are delivered at least once: after a
//! restart, from the last commit that reached the disk.
//!
//! - Durable topics: a record is acknowledged when it was fsynced. All of them share one log, so that
//!   everything sent during one fsync is covered by the next one.
//! - Other topics live in memory with a bound, the oldest dropped when full.

mod config;
mod consumer;
mod counts;
mod keeper;
mod log;
mod murmur2;
mod offsets;
mod partition;
#[cfg(test)]
mod power_loss;
mod producer;
mod queue;
mod tail;

use bytes::Bytes;

pub use config::{ConsumerConfig, EmbeddedConfig, FatalHandler, Retention, TopicConfig};
pub use consumer::{Consumer, Event};
pub use producer::{Outgoing, Producer, Target};
pub use queue::Queue;
pub use tail::{Tail, TailEvent};

/// A partition of a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: &'static str,
    /// Counted from 0.
    pub partition: u32,
}

/// Where a record was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Position {
    /// The partition that took it.
    pub partition: u32,
    /// Its place there, counted from 0 without gaps.
    pub offset: u64,
}

/// A record as consumers get it. Cloning shares the bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The topic's name.
    pub topic: &'static str,
    /// The partition.
    pub partition: u32,
    /// Its place in the partition.
    pub offset: u64,
    /// What it was partitioned by; may be empty.
    pub key: Bytes,
    /// The payload.
    pub value: Bytes,
}

/// The bytes of a record as every bound counts them: key, value and what is kept about it.
pub(crate) fn cost_bytes(key: &Bytes, value: &Bytes) -> usize {
    key.len() + value.len() + 64
}

/// Why a record was not taken, or not written.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SendError {
    /// More is waiting to be written, or to be consumed, than may be: try again later.
    #[error("the queue is full")]
    QueueFull,
    /// The queue was closed.
    #[error("the queue is closed")]
    Closed,
    /// It could not be written (a full disk, for one), and is not in the log.
    #[error("the queue's storage: {0}")]
    Storage(std::sync::Arc<str>),
    /// Longer than `record_max_bytes`: will never be taken.
    #[error("a record of {0} bytes is too large")]
    TooLarge(usize),
    /// No such topic or partition: a bug of the caller.
    #[error("no topic {0} with that partition")]
    UnknownTopic(&'static str),
}

/// Why the queue can't be opened or used.
#[derive(Debug, thiserror::Error)]
pub enum QueueError {
    /// The system refused.
    #[error("{what} {path}: {source}")]
    Io {
        /// What was tried.
        what: &'static str,
        /// On which file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// A file holds what was never written there so. Nothing was changed; restore it, or move it away and
    /// lose what it holds.
    #[error("{path} is damaged at byte {at}: {reason}")]
    Damaged {
        /// The file.
        path: std::path::PathBuf,
        /// Where in the file.
        at: u64,
        /// What is wrong.
        reason: String,
    },
    /// Another process has this folder open.
    #[error("{0} is in use by another process")]
    Locked(std::path::PathBuf),
    /// The configuration contradicts itself or what is on disk.
    #[error("queue: {0}")]
    Config(String),
    /// No such topic or partition.
    #[error("the queue has no topic {0} with that partition")]
    UnknownTopic(String),
}
