//! Every bound of the embedded queue, with its unit and what happens there.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// What is kept of a durable topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retention {
    /// Everything that some group has not committed yet; with no group, everything: a topic that nobody
    /// consumes fills up to `backlog_max_bytes` and is then refused.
    UntilConsumed,
    /// For people to look at: what is younger than `max_age_ms`, and of that the newest `max_bytes`. Both are
    /// kept to within one segment.
    Kept {
        /// Milliseconds since a record was written.
        max_age_ms: u64,
        /// Bytes on disk, of all kept topics together.
        max_bytes: u64,
    },
}

/// A topic. Topics are part of the services' contract, not of the configuration file.
#[derive(Debug, Clone, Copy)]
pub struct TopicConfig {
    /// Its name.
    pub name: &'static str,
    /// How many partitions, at least 1 and at most 65,536; may grow between restarts, never shrink.
    pub partitions: u32,
    /// Whether a record is fsynced before it is acknowledged.
    pub durable: bool,
    /// What is kept of a durable topic; of no meaning for one in memory, whose bound is
    /// `memory_max_records` and `memory_max_bytes` a partition.
    pub retention: Retention,
}

impl TopicConfig {
    /// A topic that is fsynced and kept until consumed.
    pub const fn durable(name: &'static str, partitions: u32) -> TopicConfig {
        TopicConfig { name, partitions, durable: true, retention: Retention::UntilConsumed }
    }

    /// A topic that is fsynced and kept by age and size.
    pub const fn kept(name: &'static str, partitions: u32, max_age_ms: u64, max_bytes: u64) -> TopicConfig {
        TopicConfig { name, partitions, durable: true, retention: Retention::Kept { max_age_ms, max_bytes } }
    }

    /// A topic in memory.
    pub const fn memory(name: &'static str, partitions: u32) -> TopicConfig {
        TopicConfig { name, partitions, durable: false, retention: Retention::UntilConsumed }
    }
}

/// Called when going on would break a promise, with the reason.
#[derive(Clone)]
pub struct FatalHandler(pub Arc<dyn Fn(&str) + Send + Sync>);

impl FatalHandler {
    /// Logs the reason why this part can't go on and ends the process with status 74 (EX_IOERR).
    pub fn ending_process(part: &'static str) -> Self {
        FatalHandler(Arc::new(move |reason| {
            tracing::error!(reason, "{part} can't go on; ending the process");
            crate::telemetry::last_words(&format!("gochat: {part} can't go on: {reason}"));
            std::process::exit(74);
        }))
    }
}

impl Default for FatalHandler {
    /// Ends the process in the name of the queue.
    fn default() -> Self {
        Self::ending_process("the queue")
    }
}

impl fmt::Debug for FatalHandler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FatalHandler")
    }
}

/// The embedded queue.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EmbeddedConfig {
    /// The folder of the log; made when it isn't there. One process at a time.
    pub dir: PathBuf,
    /// The topics, set by the program.
    #[serde(skip)]
    pub topics: Vec<TopicConfig>,
    /// A segment file is closed at this size, and deleted when all in it is consumed.
    pub segment_bytes: u64,
    /// Zeros written ahead of the end of the log, so that most fsyncs change no file size: 1.7 times cheaper
    /// each, for twice the bytes written. 0 writes none.
    pub prefill_bytes: u64,
    /// Records that wait for the disk; more are refused with `QueueFull`.
    pub queue_max_records: usize,
    /// Bytes that wait for the disk; more are refused with `QueueFull`.
    pub queue_max_bytes: usize,
    /// Bytes written and fsynced at once; what is waiting beyond that is written right after.
    pub batch_max_bytes: usize,
    /// The longest key and value together; longer ones are refused with `TooLarge`.
    pub record_max_bytes: usize,
    /// Bytes of the log on disk that unconsumed records may pin. Above, records for the topics that pin
    /// the oldest segment are refused with `QueueFull`; above twice that, for all durable topics.
    pub backlog_max_bytes: u64,
    /// Newest bytes of each durable partition kept in memory for its consumers; older ones are read from the files.
    pub cache_max_bytes: usize,
    /// Records of each partition of a topic in memory; the oldest are dropped when full.
    pub memory_max_records: usize,
    /// Bytes of each partition of a topic in memory; the oldest are dropped when full.
    pub memory_max_bytes: usize,
    /// How long commits may wait before they are on disk, in milliseconds. A crash delivers again what was
    /// committed within that time.
    pub offsets_flush_ms: u64,
    /// How often a log that could not be written tries a few bytes while nobody sends, in milliseconds, at least 1; until
    /// it can, [`Queue::trouble`](super::Queue::trouble) tells why.
    pub refused_retry_ms: u64,
    /// How much a tail returns at once.
    pub tail: ConsumerConfig,
    /// What to do when an fsync fails; set by the program.
    #[serde(skip)]
    pub on_fatal: FatalHandler,
    /// For tests only: the fsync of this number (counted from 1 after opening) fails as a broken disk would make it fail.
    /// 0, the default, breaks nothing.
    pub fault_fsync_at: u64,
}

impl Default for EmbeddedConfig {
    /// Sized for a laptop: 64 MiB segments, 1 MiB of zeros ahead, 65,536 records or 16 MiB waiting, 4 MiB at
    /// once, records up to 1 MiB, 4 GiB of backlog, 4 MiB of memory a partition, commits on disk after 500 ms, and
    /// a look at a broken disk each second.
    fn default() -> Self {
        EmbeddedConfig {
            dir: PathBuf::from("data/queue"),
            topics: Vec::new(),
            segment_bytes: 64 << 20,
            prefill_bytes: 1 << 20,
            queue_max_records: 65_536,
            queue_max_bytes: 16 << 20,
            batch_max_bytes: 4 << 20,
            record_max_bytes: 1 << 20,
            backlog_max_bytes: 4 << 30,
            cache_max_bytes: 4 << 20,
            memory_max_records: 16_384,
            memory_max_bytes: 8 << 20,
            offsets_flush_ms: 500,
            refused_retry_ms: 1_000,
            tail: ConsumerConfig::default(),
            on_fatal: FatalHandler::default(),
            fault_fsync_at: 0,
        }
    }
}

/// How much a consumer gets at once.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct ConsumerConfig {
    /// Records in one event, at least 1.
    pub max_records: usize,
    /// Bytes of keys and values in one event; a single longer record is delivered alone.
    pub max_bytes: usize,
}

impl Default for ConsumerConfig {
    /// 1,000 records or 1 MiB.
    fn default() -> Self {
        ConsumerConfig { max_records: 1_000, max_bytes: 1 << 20 }
    }
}
