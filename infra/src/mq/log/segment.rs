//! One file of the log.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use bytes::Bytes;

use super::format::{DiskPartition, SEGMENT_HEADER_BYTES, SegmentHeader};
use crate::mq::QueueError;
use crate::mq::offsets::sync_dir;

/// How much is read from a file at once, if not more is needed.
const CHUNK_BYTES: usize = 256 << 10;

/// A segment's file, open for as long as somebody reads it, even when it is deleted meanwhile.
#[derive(Debug)]
pub(super) struct Segment {
    /// The number of its first batch, which is also its name.
    pub(super) first_batch: u64,
    pub(super) path: PathBuf,
    pub(super) file: File,
    /// Where its first batch begins.
    pub(super) data_start: u64,
    /// What the checksums of its batches begin with.
    pub(super) salt: u32,
}

pub(super) fn io_error(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> QueueError {
    let path = path.to_owned();
    move |source| QueueError::Io { what, path, source }
}

impl Segment {
    /// Makes a new file with its header, whole and on disk under its name when this returns.
    ///
    /// A failed fsync is the outer error: going on after it is not safe.
    pub(super) fn create(
        dir: &Path,
        first_batch: u64,
        unix_ms: u64,
        next_offsets: Vec<(DiskPartition, u64)>,
    ) -> Result<io::Result<Segment>, io::Error> {
        let salt = getrandom::u32().unwrap_or(unix_ms as u32);
        let bytes = SegmentHeader { first_batch, unix_ms, salt, next_offsets }.encode();
        let path = dir.join(format!("{first_batch:020}.log"));
        let beside = path.with_extension("tmp");
        let written = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(true)
            .open(&beside)
            .and_then(|file| file.write_all_at(&bytes, 0).map(|()| file));
        let file = match written {
            Ok(file) => file,
            Err(error) => {
                let _ = fs::remove_file(&beside);
                return Ok(Err(error));
            }
        };
        file.sync_all()?;
        if let Err(error) = fs::rename(&beside, &path) {
            let _ = fs::remove_file(&beside);
            return Ok(Err(error));
        }
        sync_dir(dir)?;
        Ok(Ok(Segment { first_batch, path, file, data_start: bytes.len() as u64, salt }))
    }

    /// Makes sure that a batch that was found here is on the disk, and with it the whole file.
    ///
    /// It may stand in the page cache only: its writer was killed before the fsync came back, or the fsync failed, after
    /// which the system takes the pages for written. Written once more, they are synced or refused.
    pub(super) fn secure(&self, batch: Range<u64>) -> io::Result<()> {
        #[cfg(test)]
        crate::mq::power_loss::note(&self.path);
        let bytes = Chunks::new(&self.file).read(batch.start, (batch.end - batch.start) as usize)?;
        match self.file.write_all_at(&bytes, batch.start) {
            // On file systems that write nothing in place. It can still be opened then, as after any kill.
            Err(error)
                if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded) => {}
            written => written?,
        }
        self.file.sync_all()
    }

    /// Opens a file and checks its header.
    pub(super) fn open(path: &Path) -> Result<(Segment, SegmentHeader), QueueError> {
        let file = OpenOptions::new().read(true).write(true).open(path).map_err(io_error("opening", path))?;
        let mut chunks = Chunks::new(&file);
        let damaged = |reason: &str| QueueError::Damaged { path: path.into(), at: 0, reason: reason.into() };
        let start = chunks.read(0, SEGMENT_HEADER_BYTES).map_err(io_error("reading", path))?;
        let length = SegmentHeader::length(&start).ok_or_else(|| damaged("this is no segment of the log"))?;
        let bytes = chunks.read(0, length).map_err(io_error("reading", path))?;
        let header =
            SegmentHeader::decode(&bytes).ok_or_else(|| damaged("the segment's header is broken"))?;
        let name = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if name != Some(header.first_batch) {
            return Err(damaged("the file's name is not the one it was written under"));
        }
        let (first_batch, salt, data_start) = (header.first_batch, header.salt, length as u64);
        Ok((Segment { first_batch, path: path.into(), file, data_start, salt }, header))
    }
}

/// Reads a file by pieces, in large chunks; the pieces share a chunk's memory.
pub(super) struct Chunks<'a> {
    file: &'a File,
    start: u64,
    chunk: Bytes,
}

impl<'a> Chunks<'a> {
    pub(super) fn new(file: &'a File) -> Chunks<'a> {
        Chunks { file, start: 0, chunk: Bytes::new() }
    }

    /// The bytes at a place; fewer than asked for at the end of the file.
    pub(super) fn read(&mut self, at: u64, length: usize) -> io::Result<Bytes> {
        let inside = at.checked_sub(self.start).map(|skip| skip as usize);
        if let Some(skip) = inside
            && skip + length <= self.chunk.len()
        {
            return Ok(self.chunk.slice(skip..skip + length));
        }
        let mut buffer = vec![0; length.max(CHUNK_BYTES)];
        let mut filled = 0;
        while filled < buffer.len() {
            match self.file.read_at(&mut buffer[filled..], at + filled as u64) {
                Ok(0) => break,
                Ok(n) => filled += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        buffer.truncate(filled);
        self.start = at;
        self.chunk = buffer.into();
        Ok(self.chunk.slice(..length.min(filled)))
    }
}
