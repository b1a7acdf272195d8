//! Opening a log: every segment is read and checked, and a write cut short at the very end is cut off.

use std::collections::HashMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use super::format::{BATCH_HEADER_BYTES, BATCH_MAGIC, BatchHeader, DiskPartition, Records, SegmentHeader};
use super::segment::{Chunks, Segment, io_error};
use super::{Slot, StoredSegment};
use crate::mq::QueueError;
use crate::mq::offsets::make_dir;

/// No batch is longer; a header that says so is broken. Far above what any configuration makes.
const BODY_BYTES_MAX: u64 = 1 << 30;

/// What was found on disk.
pub(super) struct Recovered {
    /// Oldest first; the last one is to be appended to.
    pub(super) segments: Vec<StoredSegment>,
    /// By slot.
    pub(super) next_offsets: Vec<u64>,
    pub(super) next_batch: u64,
    /// The length of the last file: zeros after the last batch may be written over without growing it.
    pub(super) filled: u64,
}

struct Recovery<'a> {
    slots: &'a [Slot],
    by_name: HashMap<DiskPartition, usize>,
    next_offsets: Vec<u64>,
    next_batch: u64,
    /// Where the last batch of the segment scanned last begins; its end when it has none.
    last_batch_at: u64,
    filled: u64,
}

/// Reads the log in a folder; makes the first segment when there is none.
pub(super) fn recover(dir: &Path, slots: &[Slot], now_unix_ms: u64) -> Result<Recovered, QueueError> {
    make_dir(dir).map_err(io_error("making", dir))?;
    let by_name = slots.iter().enumerate().map(|(i, slot)| (slot.on_disk, i)).collect();
    let mut recovery = Recovery {
        slots,
        by_name,
        next_offsets: vec![0; slots.len()],
        next_batch: 1,
        last_batch_at: 0,
        filled: 0,
    };
    let paths = list(dir)?;
    let mut segments: Vec<StoredSegment> = Vec::with_capacity(paths.len());
    for (i, path) in paths.iter().enumerate() {
        let (segment, header) = Segment::open(path)?;
        match segments.last() {
            None => recovery.begin(path, &header)?,
            Some(before) => recovery.check_follows(before, &header)?,
        }
        segments.push(recovery.scan(segment, i + 1 == paths.len())?);
    }
    // Only the last batch can be in doubt: each was written when the one before was fsynced.
    if let Some(last) = segments.last() {
        let segment = &last.segment;
        segment.secure(recovery.last_batch_at..last.bytes).map_err(io_error("syncing", &segment.path))?;
    }
    if segments.is_empty() {
        let segment = Segment::create(dir, 1, now_unix_ms, Vec::new())
            .and_then(|made| made)
            .map_err(io_error("making a segment in", dir))?;
        recovery.filled = segment.data_start;
        segments.push(StoredSegment::new(Arc::new(segment), now_unix_ms));
    }
    let Recovery { next_offsets, next_batch, filled, .. } = recovery;
    Ok(Recovered { segments, next_offsets, next_batch, filled })
}

/// The segments' files in order. Files that were being made when the process died are removed.
fn list(dir: &Path) -> Result<Vec<PathBuf>, QueueError> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error("listing", dir))? {
        let path = entry.map_err(io_error("listing", dir))?.path();
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("log") => paths.push(path),
            Some("tmp") => fs::remove_file(&path).map_err(io_error("removing", &path))?,
            _ => {}
        }
    }
    // Names are numbers of equal width.
    paths.sort();
    Ok(paths)
}

/// Why a batch isn't one.
enum Bad {
    Header,
    Record(&'static str),
}

impl Recovery<'_> {
    fn begin(&mut self, path: &Path, header: &SegmentHeader) -> Result<(), QueueError> {
        self.next_batch = header.first_batch;
        for (partition, next) in &header.next_offsets {
            let slot = self.by_name.get(partition).ok_or_else(|| QueueError::Damaged {
                path: path.into(),
                at: 0,
                reason: format!("it names the unknown partition {}/{}", partition.topic, partition.partition),
            })?;
            self.next_offsets[*slot] = *next;
        }
        Ok(())
    }

    /// A segment goes on exactly where the one before ended, or something between them is gone.
    fn check_follows(&self, before: &StoredSegment, header: &SegmentHeader) -> Result<(), QueueError> {
        let same = |(partition, next): &(DiskPartition, u64)| {
            self.by_name.get(partition).is_some_and(|slot| self.next_offsets[*slot] == *next)
        };
        if header.first_batch == self.next_batch && header.next_offsets.iter().all(same) {
            return Ok(());
        }
        Err(QueueError::Damaged {
            path: before.segment.path.clone(),
            at: before.bytes,
            reason: format!(
                "it ends before batch {}, but the next segment begins with batch {}",
                self.next_batch, header.first_batch
            ),
        })
    }

    fn scan(&mut self, segment: Segment, is_last: bool) -> Result<StoredSegment, QueueError> {
        let mut stored = StoredSegment::new(Arc::new(segment), 0);
        let segment = stored.segment.clone();
        let path = &segment.path;
        let length = segment.file.metadata().map_err(io_error("reading", path))?.len();
        let mut chunks = Chunks::new(&segment.file);
        let mut at = segment.data_start;
        self.last_batch_at = at;
        let bad = loop {
            let start = chunks.read(at, BATCH_HEADER_BYTES).map_err(io_error("reading", path))?;
            let header = BatchHeader::decode(&start, segment.salt).filter(|header| {
                header.number == self.next_batch && u64::from(header.body_bytes) <= BODY_BYTES_MAX
            });
            let Some(header) = header else { break Bad::Header };
            let body_at = at + BATCH_HEADER_BYTES as u64;
            let body = chunks.read(body_at, header.body_bytes as usize).map_err(io_error("reading", path))?;
            if let Err(reason) = self.take(&mut stored, at, &header, body) {
                break Bad::Record(reason);
            }
            self.last_batch_at = at;
            at = body_at + u64::from(header.body_bytes);
        };
        stored.bytes = at;
        self.filled = length;
        let rest =
            Rest::of(&mut chunks, at, segment.salt, self.next_batch).map_err(io_error("reading", path))?;
        match (rest, bad, is_last) {
            (Rest::Zeros, Bad::Header, _) => {}
            (Rest::Good(number), bad, _) => return Err(damaged(path, at, &bad, Some(number))),
            (_, bad, false) => return Err(damaged(path, at, &bad, None)),
            (_, _, true) => {
                tracing::warn!(path = %path.display(), at, "cut off a write that was never completed");
                segment.file.set_len(at).map_err(io_error("cutting", path))?;
                segment.file.sync_all().map_err(io_error("syncing", path))?;
                self.filled = at;
            }
        }
        Ok(stored)
    }

    /// Checks a whole batch, then notes what is in it.
    fn take(
        &mut self,
        stored: &mut StoredSegment,
        at: u64,
        header: &BatchHeader,
        body: Bytes,
    ) -> Result<(), &'static str> {
        if body.len() != header.body_bytes as usize {
            return Err("the file ends inside of a batch");
        }
        let mut next = HashMap::new();
        let mut records = 0;
        for record in Records::of(body) {
            let record = record.map_err(|()| "a record's length can't be")?;
            if !record.is_sound() {
                return Err("a record's checksum is wrong");
            }
            let slot = *self.by_name.get(&record.partition).ok_or("a record of an unknown partition")?;
            let (_, expected) =
                next.entry(slot).or_insert((self.next_offsets[slot], self.next_offsets[slot]));
            if record.offset != *expected {
                return Err("a record's offset is not the next one");
            }
            *expected += 1;
            records += 1;
        }
        if records != header.records {
            return Err("a batch has another number of records than it says");
        }
        for (slot, (first, next)) in next {
            let mut state = self.slots[slot].partition.lock();
            state.note_place(first, stored.segment.first_batch, at);
            state.note_time(first, header.unix_ms);
            drop(state);
            self.next_offsets[slot] = next;
            stored.last_offsets.insert(slot as u32, next - 1);
        }
        stored.last_unix_ms = header.unix_ms;
        self.next_batch = header.number + 1;
        Ok(())
    }
}

fn damaged(path: &Path, at: u64, bad: &Bad, behind: Option<u64>) -> QueueError {
    let what = match bad {
        Bad::Header => "no batch begins here",
        Bad::Record(reason) => reason,
    };
    let reason = match behind {
        Some(number) => format!("{what}, though the whole batch {number} follows"),
        None => format!("{what}, though this is not the end of the log"),
    };
    QueueError::Damaged { path: path.into(), at, reason }
}

/// What stands in a file behind its last good batch.
enum Rest {
    /// Zeros, or nothing.
    Zeros,
    /// Something, but no batch.
    Garbage,
    /// A later batch: what is before it was safe on disk once.
    Good(u64),
}

impl Rest {
    fn of(chunks: &mut Chunks<'_>, at: u64, salt: u32, next_batch: u64) -> std::io::Result<Rest> {
        const STEP: usize = 64 << 10;
        let (mut at, mut rest) = (at, Rest::Zeros);
        loop {
            // Pieces overlap by a header, so that one across their border is found.
            let piece = chunks.read(at, STEP + BATCH_HEADER_BYTES - 1)?;
            if piece.iter().any(|byte| *byte != 0) {
                rest = Rest::Garbage;
                let found = piece
                    .windows(BATCH_HEADER_BYTES)
                    .filter(|window| window[..4] == BATCH_MAGIC)
                    .filter_map(|window| BatchHeader::decode(window, salt))
                    .find(|header| header.number > next_batch);
                if let Some(header) = found {
                    return Ok(Rest::Good(header.number));
                }
            }
            if piece.len() < STEP + BATCH_HEADER_BYTES - 1 {
                return Ok(rest);
            }
            at += STEP as u64;
        }
    }
}
