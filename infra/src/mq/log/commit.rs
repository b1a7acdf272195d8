//! The committer: takes everything that waits, writes it with one write, fsyncs, and tells everybody.

use std::io;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::format::BatchWriter;
use super::segment::Segment;
use super::{Log, Pending, StoredSegment, answer, lock, unix_ms};
use crate::mq::partition::Stored;
use crate::mq::{Position, SendError};

pub(super) struct Committer {
    log: Arc<Log>,
    /// By slot; ahead of what the partitions show only while a batch is being written.
    next_offsets: Vec<u64>,
    next_batch: u64,
    segment: Arc<Segment>,
    /// The end of the last good batch.
    end: u64,
    /// The end of the file, zeros included.
    filled: u64,
    /// A write failed and the file could not be cut back yet.
    uncut: bool,
    /// The last write failed; logged once until one succeeds.
    failing: bool,
    fsyncs: u64,
    writer: BatchWriter,
    positions: Vec<Position>,
    /// By slot: the records of this batch. Their memory is kept from batch to batch.
    buckets: Vec<Vec<Stored>>,
    /// Slots with a record in this batch, and by slot whether it is one of them.
    touched: Vec<u32>,
    is_touched: Vec<bool>,
    /// The file was cut back since its last fsync.
    cut: bool,
}

/// Room for this much, and the disk is taken for well again.
const TRIED_BYTES: usize = 64 << 10;

/// How writing failed.
enum Failure {
    /// Nothing of the batch is in the log; the next one may succeed.
    Refused(io::Error),
    /// What is on disk is unknown.
    Fatal(String),
}

/// The log can't go on.
struct Broken;

fn lost() -> SendError {
    SendError::Storage("the disk failed".into())
}

impl Committer {
    pub(super) fn new(log: Arc<Log>, next_offsets: Vec<u64>, next_batch: u64, filled: u64) -> Committer {
        let (segment, end) = {
            let segments = lock(&log.segments);
            let last = segments.back().expect("recovery makes a segment when there is none");
            (last.segment.clone(), last.bytes)
        };
        let buckets = next_offsets.iter().map(|_| Vec::new()).collect();
        let is_touched = vec![false; next_offsets.len()];
        Committer {
            log,
            next_offsets,
            next_batch,
            segment,
            end,
            filled,
            uncut: false,
            failing: false,
            fsyncs: 0,
            writer: BatchWriter::default(),
            positions: Vec::new(),
            buckets,
            touched: Vec::new(),
            is_touched,
            cut: false,
        }
    }

    /// Until the log is closed and everything taken is written.
    pub(super) fn run(mut self) {
        let mut pending = Vec::new();
        let patience = Duration::from_millis(self.log.config.refused_retry_ms);
        while let Some(taken) = self.log.take(std::mem::take(&mut pending), self.failing.then_some(patience))
        {
            pending = taken;
            if pending.is_empty() {
                self.try_again();
            }
            while !pending.is_empty() {
                let count = self.encode(&pending);
                if let Err(Broken) = self.commit(pending.drain(..count)) {
                    return self.give_up(pending);
                }
            }
        }
    }

    /// Builds a batch of the first records and returns how many fit.
    fn encode(&mut self, pending: &[Pending]) -> usize {
        self.writer.begin();
        self.positions.clear();
        for record in pending {
            let Pending { slot, stored, .. } = record;
            let length = stored.key.len() + stored.value.len();
            if !self.positions.is_empty() && self.writer.len() + length > self.log.config.batch_max_bytes {
                break;
            }
            let offset = &mut self.next_offsets[*slot as usize];
            let place = self.log.slots[*slot as usize].on_disk;
            self.writer.push(place, *offset, &stored.key, &stored.value);
            self.positions.push(Position { partition: u32::from(place.partition), offset: *offset });
            *offset += 1;
            if !std::mem::replace(&mut self.is_touched[*slot as usize], true) {
                self.touched.push(*slot);
            }
        }
        self.positions.len()
    }

    /// Writes the batch, then answers and shows its records.
    ///
    /// After a failed fsync the kernel may have dropped the data and will not say so again: asking once more
    /// would be answered with success. So nothing is tried again and the process should end.
    fn commit(&mut self, batch: std::vec::Drain<'_, Pending>) -> Result<(), Broken> {
        let begun = Instant::now();
        let at = match self.write() {
            Ok(at) => at,
            Err(Failure::Refused(error)) => {
                self.refuse(batch, &error);
                return Ok(());
            }
            Err(Failure::Fatal(reason)) => {
                self.log.shut();
                (self.log.config.on_fatal.0)(&reason);
                batch.for_each(|record| answer(record.done, Err(lost())));
                return Err(Broken);
            }
        };
        let counts = &self.log.counts;
        counts.commit_seconds.observe(begun.elapsed().as_secs_f64());
        counts.written_records.inc_by(self.positions.len() as u64);
        counts.written_bytes.inc_by(self.end - at);
        self.mended();
        // Before the answers: whoever copies the log after an answer finds the record.
        self.note();
        for (record, position) in batch.zip(&self.positions) {
            self.buckets[record.slot as usize].push(record.stored);
            answer(record.done, Ok(*position));
        }
        self.show(at);
        Ok(())
    }

    /// Notes that the batch is on disk.
    fn note(&mut self) {
        if let Some(last) = lock(&self.log.segments).back_mut() {
            last.bytes = self.end;
            last.last_unix_ms = unix_ms();
            for slot in &self.touched {
                last.last_offsets.insert(*slot, self.next_offsets[*slot as usize] - 1);
            }
        }
    }

    /// Lets readers see the batch that begins at this place.
    fn show(&mut self, at: u64) {
        for slot in self.touched.drain(..) {
            self.is_touched[slot as usize] = false;
            let records = self.buckets[slot as usize].drain(..);
            let place = Some((self.segment.first_batch, at));
            self.log.slots[slot as usize].partition.publish(records, place);
        }
    }

    /// Nothing of the batch was written: its offsets are free again.
    fn refuse(&mut self, batch: std::vec::Drain<'_, Pending>, error: &io::Error) {
        if !std::mem::replace(&mut self.failing, true) {
            tracing::error!(log = self.log.name, %error, "the log can't be written; refusing records");
        }
        *lock(&self.log.refusing) = Some(error.to_string().into());
        for slot in self.touched.drain(..) {
            self.is_touched[slot as usize] = false;
        }
        let error = SendError::Storage(error.to_string().into());
        for record in batch {
            self.next_offsets[record.slot as usize] -= 1;
            self.log.counts.refused_storage.inc();
            answer(record.done, Err(error.clone()));
        }
    }

    fn mended(&mut self) {
        if std::mem::take(&mut self.failing) {
            tracing::info!(log = self.log.name, "the log can be written again");
            *lock(&self.log.refusing) = None;
        }
    }

    /// Nobody sends to a queue that says that it refuses, so the log has to find out by itself that it can be written:
    /// by zeros after its end, which are cut off again.
    fn try_again(&mut self) {
        let tried = self.cut_back().and_then(|()| {
            let written = self.segment.file.write_all_at(&[0; TRIED_BYTES], self.filled);
            // If this fails part of them stays, which is harmless.
            let _ = self.segment.file.set_len(self.filled);
            written
        });
        match tried {
            Ok(()) => self.mended(),
            Err(error) => *lock(&self.log.refusing) = Some(error.to_string().into()),
        }
    }

    /// Cuts off what a failed write left, if that could not be done before.
    fn cut_back(&mut self) -> io::Result<()> {
        if self.uncut {
            self.segment.file.set_len(self.end)?;
            (self.filled, self.uncut, self.cut) = (self.end, false, true);
        }
        Ok(())
    }

    /// Only when the fatal handler came back: nobody is left without an answer.
    fn give_up(self, mut pending: Vec<Pending>) {
        if let Some(rest) = self.log.take(Vec::new(), None) {
            pending.extend(rest);
        }
        pending.into_iter().for_each(|record| answer(record.done, Err(lost())));
    }

    /// Writes the batch in the writer and fsyncs it; returns where it begins.
    fn write(&mut self) -> Result<u64, Failure> {
        self.cut_back().map_err(Failure::Refused)?;
        let length = self.writer.len() as u64;
        let begun = self.end > self.segment.data_start;
        if begun && self.end + length > self.log.config.segment_bytes {
            self.roll()?;
        }
        self.prefill(length);
        let at = self.end;
        let bytes = self.writer.finish(self.segment.salt, self.next_batch, unix_ms());
        if let Err(error) = self.segment.file.write_all_at(bytes, at) {
            self.uncut = self.segment.file.set_len(at).is_err();
            (self.filled, self.cut) = (at, true);
            return Err(Failure::Refused(error));
        }
        self.sync()?;
        self.end = at + length;
        self.filled = self.filled.max(self.end);
        self.next_batch += 1;
        Ok(at)
    }

    fn sync(&mut self) -> Result<(), Failure> {
        self.fsyncs += 1;
        self.log.counts.fsyncs.inc();
        let begun = Instant::now();
        let synced = match self.log.config.fault_fsync_at {
            at if at == self.fsyncs => Err(io::Error::other("a fault was asked for")),
            _ => self.segment.file.sync_data(),
        };
        self.log.counts.fsync_seconds.observe(begun.elapsed().as_secs_f64());
        self.cut = false;
        synced.map_err(|error| Failure::Fatal(format!("fsync of {}: {error}", self.segment.path.display())))
    }

    /// Writes zeros ahead when the next batch would grow the file. Without them it is only slower.
    fn prefill(&mut self, length: u64) {
        let config = &self.log.config;
        if config.prefill_bytes == 0 || self.end + length <= self.filled {
            return;
        }
        let to = (self.end + length + config.prefill_bytes).min(config.segment_bytes);
        let Some(count) = to.checked_sub(self.filled) else { return };
        let zeros = vec![0; count as usize];
        match self.segment.file.write_all_at(&zeros, self.filled) {
            Ok(()) => self.filled = to,
            // The last room of a disk is for records, here or in other files: zeros give it back. If that fails part of
            // them stays, which is harmless.
            Err(_) => {
                let _ = self.segment.file.set_len(self.filled);
            }
        }
    }

    /// Begins the next segment. The one before is complete and on disk.
    fn roll(&mut self) -> Result<(), Failure> {
        if self.cut {
            // What was cut off must not come back with a power loss: nothing may follow the last batch of a segment that
            // has a successor.
            self.sync()?;
        }
        let now = unix_ms();
        // The batch to be written has taken its offsets already; the header says where things stood before it.
        let next_offsets =
            self.log.slots.iter().map(|slot| (slot.on_disk, slot.partition.next_offset())).collect();
        let made = Segment::create(&self.log.dir, self.next_batch, now, next_offsets);
        let made = made.map_err(|error| {
            Failure::Fatal(format!("fsync of a new segment in {}: {error}", self.log.dir.display()))
        })?;
        let segment = Arc::new(made.map_err(Failure::Refused)?);
        (self.end, self.filled) = (segment.data_start, segment.data_start);
        self.segment = segment.clone();
        lock(&self.log.segments).push_back(StoredSegment::new(segment, now));
        // Here and not only by the keeper, who may be late: the bound holds to within a segment.
        self.log.set_gates();
        self.log.signal.ring();
        Ok(())
    }
}
