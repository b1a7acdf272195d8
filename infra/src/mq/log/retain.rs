//! Deleting segments that nobody needs, and shutting the gate of topics that pin too many.

use std::fs;
use std::io;
use std::sync::atomic::Ordering;

use super::{Log, StoredSegment, lock, unix_ms};
use crate::mq::offsets::sync_dir;

/// What a log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::mq) enum Keep {
    /// What some group has not committed.
    UntilConsumed,
    /// What is younger, and the newest bytes.
    For { max_age_ms: u64, max_bytes: u64 },
}

impl Log {
    /// Deletes whole segments from the oldest on, never the one being written. A file that can't be deleted
    /// is tried again the next time.
    pub(in crate::mq) fn retain(&self) {
        loop {
            let Some(gone) = self.take_oldest() else { break };
            // Synced one by one: a hole among the segments would be damage to the next start.
            let removed = match fs::remove_file(&gone.segment.path) {
                // It was removed the last time, and the folder could not be synced.
                Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
                removed => removed,
            };
            let removed = removed.and_then(|()| sync_dir(&self.dir));
            if let Err(error) = removed {
                tracing::warn!(path = %gone.segment.path.display(), %error, "a consumed segment stays");
                lock(&self.segments).push_front(gone);
                break;
            }
            self.counts.deleted_segments.inc();
        }
        self.set_gates();
    }

    /// Takes the oldest segment out when nobody needs it.
    fn take_oldest(&self) -> Option<StoredSegment> {
        let mut segments = lock(&self.segments);
        let total: u64 = segments.iter().map(|stored| stored.bytes).sum();
        let is_needed = |oldest: &StoredSegment| !self.may_go(oldest, total);
        if segments.len() < 2 || segments.front().is_none_or(is_needed) {
            return None;
        }
        let gone = segments.pop_front()?;
        // While the segments are locked: a reader that does not find this one must see that its records are gone.
        for slot in gone.last_offsets.keys() {
            self.slots[*slot as usize].partition.lock().forget_places(gone.segment.first_batch);
        }
        Some(gone)
    }

    fn may_go(&self, oldest: &StoredSegment, total: u64) -> bool {
        match self.keep {
            Keep::UntilConsumed => self.pinning(oldest).next().is_none(),
            Keep::For { max_age_ms, max_bytes } => {
                total > max_bytes || oldest.last_unix_ms + max_age_ms < unix_ms()
            }
        }
    }

    /// The slots with a record in the segment that some group needs.
    fn pinning<'a>(&'a self, stored: &'a StoredSegment) -> impl Iterator<Item = u32> + 'a {
        let needed = |(slot, last): (&u32, &u64)| {
            let done = self.slots[*slot as usize].partition.lock().done_below();
            (done <= *last).then_some(*slot)
        };
        stored.last_offsets.iter().filter_map(needed)
    }

    /// Above the bound the topics of the oldest segment are shut, above twice the bound all: when whoever
    /// pins the log waits for another topic to be taken, that one must still be open.
    pub(super) fn set_gates(&self) {
        if self.keep != Keep::UntilConsumed {
            return;
        }
        let total = self.bytes();
        let bound = self.config.backlog_max_bytes;
        let guilty: Vec<u32> = match total > bound {
            false => Vec::new(),
            true => {
                lock(&self.segments).front().map(|oldest| self.pinning(oldest).collect()).unwrap_or_default()
            }
        };
        let is_guilty = |slot: &super::Slot| {
            let topic = slot.on_disk.topic;
            guilty.iter().any(|other| self.slots[*other as usize].on_disk.topic == topic)
        };
        for slot in &self.slots {
            let shut = total > bound.saturating_mul(2) || is_guilty(slot);
            let was = slot.gate.swap(shut, Ordering::Relaxed);
            let topic = slot.partition.tp.topic;
            match (was, shut) {
                (false, true) => {
                    tracing::warn!(topic, bytes = total, "too much is not consumed; refusing records")
                }
                (true, false) => tracing::info!(topic, bytes = total, "taking records again"),
                _ => {}
            }
        }
    }
}
