//! Copying the log as it was at one moment, while it is being written.

use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::segment::{Segment, io_error};
use super::{Log, lock};
use crate::mq::QueueError;
use crate::mq::offsets::sync_dir;

/// How much is copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// The files of a log, and how much of each was fsynced. They stay readable when they are deleted meanwhile, and what
/// is fsynced of them never changes.
pub(in crate::mq) struct Snapshot {
    name: &'static str,
    segments: Vec<(Arc<Segment>, u64)>,
}

/// What all logs hold at one moment, and what `at_that_moment` finds then: meanwhile nothing is shown to readers and no
/// segment goes.
pub(in crate::mq) fn snapshot<T>(
    logs: &[Arc<Log>],
    at_that_moment: impl FnOnce() -> T,
) -> (Vec<Snapshot>, T) {
    let held: Vec<_> = logs.iter().map(|log| lock(&log.segments)).collect();
    let found = at_that_moment();
    let files = |segments: &std::collections::VecDeque<super::StoredSegment>| {
        segments.iter().map(|stored| (stored.segment.clone(), stored.bytes)).collect()
    };
    let snapshots = logs.iter().zip(&held);
    (snapshots.map(|(log, held)| Snapshot { name: log.name, segments: files(held) }).collect(), found)
}

impl Snapshot {
    /// Writes the files into a folder of the log's name in `dir`, safe against power loss when it returns. Returns how
    /// many bytes.
    pub(in crate::mq) fn write_to(&self, dir: &Path) -> Result<u64, QueueError> {
        let dir = dir.join(self.name);
        fs::create_dir(&dir).map_err(io_error("making", &dir))?;
        let mut total = 0;
        for (segment, bytes) in &self.segments {
            let name = segment.path.file_name().expect("segments are made under a name");
            let path = dir.join(name);
            copy(segment, *bytes, &path).map_err(io_error("copying to", &path))?;
            total += bytes;
        }
        sync_dir(&dir).map_err(io_error("syncing", &dir))?;
        Ok(total)
    }
}

fn copy(segment: &Segment, bytes: u64, path: &Path) -> io::Result<()> {
    let mut file = File::create_new(path)?;
    let mut chunk = vec![0; CHUNK_BYTES.min(bytes as usize)];
    let mut at = 0;
    while at < bytes {
        let length = chunk.len().min((bytes - at) as usize);
        segment.file.read_exact_at(&mut chunk[..length], at)?;
        file.write_all(&chunk[..length])?;
        at += length as u64;
    }
    file.sync_all()
}
