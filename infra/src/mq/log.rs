//! The durable log: segment files that the partitions of many topics share, and one thread that writes them.
//!
//! *Invariant:* what a partition shows to readers is on disk. *Invariant:* a batch is written only after the
//! one before it was fsynced. *Invariant:* after a failed fsync nothing is ever acknowledged again.

mod commit;
mod copy;
mod format;
mod read;
mod recover;
mod retain;
mod segment;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use self::commit::Committer;
use self::format::DiskPartition;
use self::segment::Segment;
use super::counts::Counts;
use super::keeper::Signal;
use super::partition::{Partition, Stored};
use super::{EmbeddedConfig, FatalHandler, Position, QueueError, SendError, cost_bytes};

pub(super) use self::copy::snapshot;
pub(super) use self::read::{Older, Wanted};
pub(super) use self::retain::Keep;

/// What is called when a record was written, or could not be.
pub(super) type Done = Box<dyn FnOnce(Result<Position, SendError>) + Send>;

/// A partition that the log holds.
#[derive(Debug)]
pub(super) struct Slot {
    on_disk: DiskPartition,
    pub(super) partition: Arc<Partition>,
    /// Shut while the topic pins too much of the log.
    gate: Arc<AtomicBool>,
}

impl Slot {
    pub(super) fn new(topic: u16, partition: Arc<Partition>, gate: Arc<AtomicBool>) -> Slot {
        // Configuration allows 65,536 partitions at most.
        let number = partition.tp.partition as u16;
        Slot { on_disk: DiskPartition { topic, partition: number }, partition, gate }
    }
}

/// A segment and what the log knows of it.
#[derive(Debug)]
struct StoredSegment {
    segment: Arc<Segment>,
    /// The end of its last batch that was fsynced.
    bytes: u64,
    /// By slot: the last offset in it.
    last_offsets: HashMap<u32, u64>,
    last_unix_ms: u64,
}

impl StoredSegment {
    fn new(segment: Arc<Segment>, unix_ms: u64) -> StoredSegment {
        let bytes = segment.data_start;
        StoredSegment { segment, bytes, last_offsets: HashMap::new(), last_unix_ms: unix_ms }
    }
}

/// A record that waits for the disk.
struct Pending {
    slot: u32,
    stored: Stored,
    done: Done,
}

#[derive(Default)]
struct Waiting {
    records: Vec<Pending>,
    bytes: usize,
    /// The committer sleeps: wake it.
    idle: bool,
    /// Nothing more is taken.
    closed: bool,
}

/// A log and its committer.
pub(super) struct Log {
    pub(super) name: &'static str,
    keep: Keep,
    dir: PathBuf,
    slots: Vec<Slot>,
    config: EmbeddedConfig,
    counts: Arc<Counts>,
    signal: Arc<Signal>,
    waiting: Mutex<Waiting>,
    wake: Condvar,
    /// Why the last write failed, until one succeeds.
    refusing: Mutex<Option<Arc<str>>>,
    /// Oldest first; the last one is being written.
    segments: Mutex<VecDeque<StoredSegment>>,
    thread: Mutex<Option<JoinHandle<()>>>,
}

impl fmt::Debug for Log {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Log({})", self.dir.display())
    }
}

/// Now, in milliseconds since 1970.
pub(super) fn unix_ms() -> u64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_millis() as u64)
}

impl Log {
    /// Opens the log in `dir/name` and starts its committer.
    pub(super) fn open(
        name: &'static str,
        keep: Keep,
        slots: Vec<Slot>,
        config: &EmbeddedConfig,
        counts: Arc<Counts>,
        signal: Arc<Signal>,
    ) -> Result<Arc<Log>, QueueError> {
        let dir = config.dir.join(name);
        let recovered = recover::recover(&dir, &slots, unix_ms())?;
        for (slot, next) in slots.iter().zip(&recovered.next_offsets) {
            slot.partition.lock().start_at(*next);
        }
        let log = Arc::new(Log {
            name,
            keep,
            dir,
            slots,
            config: config.clone(),
            counts,
            signal,
            waiting: Mutex::default(),
            wake: Condvar::new(),
            refusing: Mutex::default(),
            segments: Mutex::new(recovered.segments.into()),
            thread: Mutex::new(None),
        });
        let committer =
            Committer::new(log.clone(), recovered.next_offsets, recovered.next_batch, recovered.filled);
        let on_fatal = config.on_fatal.clone();
        let thread = std::thread::Builder::new()
            .name(format!("mq-{name}"))
            .spawn(move || guarded(&on_fatal, "the log's thread panicked", || committer.run()))
            .map_err(segment::io_error("starting the committer of", &log.dir))?;
        *lock(&log.thread) = Some(thread);
        Ok(log)
    }

    /// Takes a record for the committer, never waiting.
    pub(super) fn append(&self, slot: u32, stored: Stored, done: Done) -> Result<(), SendError> {
        if self.slots[slot as usize].gate.load(Ordering::Relaxed) {
            self.counts.refused_backlog.inc();
            return Err(SendError::QueueFull);
        }
        let bytes = cost_bytes(&stored.key, &stored.value);
        let mut waiting = lock(&self.waiting);
        if waiting.closed {
            self.counts.refused_closed.inc();
            return Err(SendError::Closed);
        }
        let full = waiting.records.len() >= self.config.queue_max_records
            || waiting.bytes + bytes > self.config.queue_max_bytes;
        if full {
            self.counts.refused_full.inc();
            return Err(SendError::QueueFull);
        }
        waiting.bytes += bytes;
        waiting.records.push(Pending { slot, stored, done });
        let wake = std::mem::take(&mut waiting.idle);
        drop(waiting);
        if wake {
            self.wake.notify_one();
        }
        Ok(())
    }

    /// Swaps what is waiting for an empty list; `None` when the log is closed and nothing is left. With `patience`
    /// it gives up after about so long, with nothing.
    fn take(&self, empty: Vec<Pending>, patience: Option<Duration>) -> Option<Vec<Pending>> {
        let mut waiting = lock(&self.waiting);
        while waiting.records.is_empty() {
            if waiting.closed {
                return None;
            }
            waiting.idle = true;
            waiting = match patience {
                None => self.wake.wait(waiting).unwrap_or_else(PoisonError::into_inner),
                Some(patience) => {
                    let waited = self.wake.wait_timeout(waiting, patience);
                    let (mut waiting, late) = waited.unwrap_or_else(PoisonError::into_inner);
                    if late.timed_out() && waiting.records.is_empty() {
                        waiting.idle = false;
                        return Some(empty);
                    }
                    waiting
                }
            };
        }
        waiting.bytes = 0;
        Some(std::mem::replace(&mut waiting.records, empty))
    }

    /// Refuses further records. What was taken before is still written.
    fn shut(&self) {
        lock(&self.waiting).closed = true;
        self.wake.notify_one();
    }

    /// Writes what is waiting and ends the committer.
    pub(super) fn close(&self) {
        self.shut();
        let thread = lock(&self.thread).take();
        // An answer may hold the last handle of the queue, which closes it from the committer itself.
        if let Some(thread) = thread.filter(|thread| thread.thread().id() != std::thread::current().id()) {
            // A panic was reported where it happened.
            let _ = thread.join();
        }
    }

    /// Why records are refused, while the last write failed.
    pub(super) fn refusing(&self) -> Option<Arc<str>> {
        lock(&self.refusing).clone()
    }

    pub(super) fn waiting(&self) -> (usize, usize) {
        let waiting = lock(&self.waiting);
        (waiting.records.len(), waiting.bytes)
    }

    /// Bytes of records in all segments.
    pub(super) fn bytes(&self) -> u64 {
        lock(&self.segments).iter().map(|stored| stored.bytes).sum()
    }

    pub(super) fn segments(&self) -> usize {
        lock(&self.segments).len()
    }
}

/// Runs a thread of the queue. Without it nothing is written down or deleted any more, so its panic ends the
/// process.
pub(super) fn guarded(on_fatal: &FatalHandler, reason: &str, run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        (on_fatal.0)(reason);
    }
}

/// Gives an answer. What the caller does with it must not take the log down.
fn answer(done: Done, outcome: Result<Position, SendError>) {
    if catch_unwind(AssertUnwindSafe(|| done(outcome))).is_err() {
        tracing::error!("what was to be done after a send panicked");
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
