//! Reading records that are no longer in memory.

use std::sync::Arc;

use super::format::{BATCH_HEADER_BYTES, BatchHeader, DiskPartition, Records};
use super::segment::{Chunks, Segment, io_error};
use super::{Log, lock};
use crate::mq::partition::Partition;
use crate::mq::{QueueError, Record, cost_bytes};

/// How much of the log is looked through for one partition before what was found is returned.
const SCAN_BYTES: u64 = 1 << 20;

/// What a reader wants from the files.
#[derive(Debug, Clone)]
pub(in crate::mq) struct Wanted {
    pub(in crate::mq) partition: Arc<Partition>,
    pub(in crate::mq) position: u64,
    pub(in crate::mq) max_records: usize,
    pub(in crate::mq) max_bytes: usize,
}

/// What the files had.
#[derive(Debug)]
pub(in crate::mq) enum Older {
    /// These, never empty.
    Records(Vec<Record>),
    /// Nothing at the position: it was deleted, and the oldest record that is left has this offset.
    Deleted(u64),
}

impl Log {
    /// Reads records from a position below those in memory. Blocks on the disk.
    pub(in crate::mq) fn read_older(&self, wanted: &Wanted) -> Result<Older, QueueError> {
        let (place, oldest, end) = {
            let state = wanted.partition.lock();
            (state.place_of(wanted.position), state.oldest_stored(), state.next_offset())
        };
        let Some((first_batch, at)) = place else { return Ok(Older::Deleted(oldest)) };
        let on_disk = self.slots.iter().find(|slot| Arc::ptr_eq(&slot.partition, &wanted.partition));
        let on_disk = on_disk
            .map(|slot| slot.on_disk)
            .ok_or_else(|| QueueError::UnknownTopic(wanted.partition.tp.topic.to_owned()))?;
        let mut search =
            Search { wanted, on_disk, end, found: Vec::new(), left_bytes: wanted.max_bytes, scanned: 0 };
        let mut place = self.segment_from(first_batch, first_batch).map(|(segment, end)| (segment, at, end));
        while let Some((segment, at, segment_end)) = place {
            if search.run(&segment, at, segment_end)? {
                break;
            }
            let next = self.segment_from(segment.first_batch + 1, u64::MAX);
            place = next.map(|(segment, end)| (segment.clone(), segment.data_start, end));
        }
        if !search.found.is_empty() {
            return Ok(Older::Records(search.found));
        }
        match wanted.partition.lock().oldest_stored() {
            // Deleted while we were looking for it.
            oldest if oldest > wanted.position => Ok(Older::Deleted(oldest)),
            _ => Err(QueueError::Damaged {
                path: self.dir.clone(),
                at,
                reason: format!("{:?} has no record {}", wanted.partition.tp, wanted.position),
            }),
        }
    }

    /// The first segment whose first batch is in this range, and where its good batches end.
    fn segment_from(&self, from: u64, to: u64) -> Option<(Arc<Segment>, u64)> {
        let segments = lock(&self.segments);
        let found = segments.iter().find(|stored| (from..=to).contains(&stored.segment.first_batch))?;
        Some((found.segment.clone(), found.bytes))
    }
}

struct Search<'a> {
    wanted: &'a Wanted,
    on_disk: DiskPartition,
    /// The partition's next offset: nothing at or above it is wanted.
    end: u64,
    found: Vec<Record>,
    left_bytes: usize,
    scanned: u64,
}

impl Search<'_> {
    /// Looks through one segment; says whether to stop.
    fn run(&mut self, segment: &Segment, mut at: u64, segment_end: u64) -> Result<bool, QueueError> {
        let mut chunks = Chunks::new(&segment.file);
        let damaged = |at, reason: &str| QueueError::Damaged {
            path: segment.path.clone(),
            at,
            reason: reason.to_owned(),
        };
        while at < segment_end {
            let start = chunks.read(at, BATCH_HEADER_BYTES).map_err(io_error("reading", &segment.path))?;
            let header = BatchHeader::decode(&start, segment.salt)
                .ok_or_else(|| damaged(at, "no batch begins here"))?;
            let body_at = at + BATCH_HEADER_BYTES as u64;
            let body = chunks
                .read(body_at, header.body_bytes as usize)
                .map_err(io_error("reading", &segment.path))?;
            for record in Records::of(body) {
                let record = record.map_err(|()| damaged(at, "a record's length can't be"))?;
                if record.partition != self.on_disk || record.offset < self.wanted.position {
                    continue;
                }
                if !record.is_sound() {
                    return Err(damaged(at, "a record's checksum is wrong"));
                }
                if !self.push(record.offset, record.key(), record.value()) {
                    return Ok(true);
                }
            }
            self.scanned += BATCH_HEADER_BYTES as u64 + u64::from(header.body_bytes);
            at = body_at + u64::from(header.body_bytes);
            if self.scanned >= SCAN_BYTES && !self.found.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Adds a record if it fits; says whether more may.
    fn push(&mut self, offset: u64, key: bytes::Bytes, value: bytes::Bytes) -> bool {
        let cost = cost_bytes(&key, &value);
        // Behind a hole stands what follows segments that were deleted meanwhile; the next read begins there.
        if offset != self.wanted.position + self.found.len() as u64 {
            return false;
        }
        let fits =
            self.found.is_empty() || (self.found.len() < self.wanted.max_records && cost <= self.left_bytes);
        if !fits || offset >= self.end {
            return false;
        }
        self.left_bytes = self.left_bytes.saturating_sub(cost);
        let tp = self.wanted.partition.tp;
        self.found.push(Record { topic: tp.topic, partition: tp.partition, offset, key, value });
        offset + 1 < self.end
    }
}
