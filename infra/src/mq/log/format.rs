//! How the log looks on disk. Pure code: bytes in, bytes out. Numbers are little-endian.
//!
//! ```text
//! segment  magic 8 · first batch u64 · written u64 (unix ms) · salt u32 · count u32 · count × (topic u16,
//!          partition u16, next offset u64) · crc u32 of all before
//! batch    magic u32 · body length u32 · number u64 · written u64 (unix ms) · records u32 · crc u32 of all before,
//!          begun with the segment's salt
//! record   crc u32 of all after · length u32 (all of it) · topic u16 · partition u16 · key length u32 · offset u64 ·
//!          key · value
//! ```
//!
//! A batch is what one fsync covers, and its number rises by one: whatever comes after a batch was written
//! when that was safe on disk. So a bad batch with a good later one behind it is damage, and without one it
//! is a write that was cut short and never acknowledged. After the last batch come zeros or nothing.
//!
//! The salt is random, so that nobody can put the bytes of a later batch into a record and have them taken for one.
//!
//! A segment begins with the next offset of every partition: when all older segments are deleted, offsets
//! still go on where they were.

use bytes::Bytes;

pub(super) const BATCH_HEADER_BYTES: usize = 32;
pub(super) const RECORD_HEADER_BYTES: usize = 24;
/// The part of a segment's header before its list of offsets.
pub(super) const SEGMENT_HEADER_BYTES: usize = 32;

const SEGMENT_MAGIC: [u8; 8] = *b"GOCHATQ\x01";
pub(super) const BATCH_MAGIC: [u8; 4] = *b"GCB\x01";
const OFFSET_ENTRY_BYTES: usize = 12;

/// A partition as the disk names it: topic number and partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct DiskPartition {
    pub(super) topic: u16,
    pub(super) partition: u16,
}

#[derive(Debug, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) first_batch: u64,
    pub(super) unix_ms: u64,
    pub(super) salt: u32,
    pub(super) next_offsets: Vec<(DiskPartition, u64)>,
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

fn salted(salt: u32, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(salt);
    hasher.update(bytes);
    hasher.finalize()
}

impl SegmentHeader {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend(SEGMENT_MAGIC);
        out.extend(self.first_batch.to_le_bytes());
        out.extend(self.unix_ms.to_le_bytes());
        out.extend(self.salt.to_le_bytes());
        out.extend((self.next_offsets.len() as u32).to_le_bytes());
        for (partition, next) in &self.next_offsets {
            out.extend(partition.topic.to_le_bytes());
            out.extend(partition.partition.to_le_bytes());
            out.extend(next.to_le_bytes());
        }
        let crc = crc32fast::hash(&out);
        out.extend(crc.to_le_bytes());
        out
    }

    /// The length of the whole header, told by its first [`SEGMENT_HEADER_BYTES`].
    pub(super) fn length(start: &[u8]) -> Option<usize> {
        if start.len() < SEGMENT_HEADER_BYTES || start[..8] != SEGMENT_MAGIC {
            return None;
        }
        Some(SEGMENT_HEADER_BYTES + u32_at(start, 28) as usize * OFFSET_ENTRY_BYTES + 4)
    }

    pub(super) fn decode(bytes: &[u8]) -> Option<SegmentHeader> {
        let length = SegmentHeader::length(bytes)?;
        let bytes = bytes.get(..length)?;
        if crc32fast::hash(&bytes[..length - 4]) != u32_at(bytes, length - 4) {
            return None;
        }
        let entry = |entry: &[u8]| {
            let partition = DiskPartition { topic: u16_at(entry, 0), partition: u16_at(entry, 2) };
            (partition, u64_at(entry, 4))
        };
        Some(SegmentHeader {
            first_batch: u64_at(bytes, 8),
            unix_ms: u64_at(bytes, 16),
            salt: u32_at(bytes, 24),
            next_offsets: bytes[SEGMENT_HEADER_BYTES..length - 4]
                .chunks_exact(OFFSET_ENTRY_BYTES)
                .map(entry)
                .collect(),
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BatchHeader {
    pub(super) body_bytes: u32,
    pub(super) number: u64,
    pub(super) unix_ms: u64,
    pub(super) records: u32,
}

impl BatchHeader {
    fn encode(&self, salt: u32) -> [u8; BATCH_HEADER_BYTES] {
        let mut out = [0; BATCH_HEADER_BYTES];
        out[..4].copy_from_slice(&BATCH_MAGIC);
        out[4..8].copy_from_slice(&self.body_bytes.to_le_bytes());
        out[8..16].copy_from_slice(&self.number.to_le_bytes());
        out[16..24].copy_from_slice(&self.unix_ms.to_le_bytes());
        out[24..28].copy_from_slice(&self.records.to_le_bytes());
        let crc = salted(salt, &out[..28]);
        out[28..].copy_from_slice(&crc.to_le_bytes());
        out
    }

    pub(super) fn decode(bytes: &[u8], salt: u32) -> Option<BatchHeader> {
        let bytes = bytes.get(..BATCH_HEADER_BYTES)?;
        if bytes[..4] != BATCH_MAGIC || salted(salt, &bytes[..28]) != u32_at(bytes, 28) {
            return None;
        }
        Some(BatchHeader {
            body_bytes: u32_at(bytes, 4),
            number: u64_at(bytes, 8),
            unix_ms: u64_at(bytes, 16),
            records: u32_at(bytes, 24),
        })
    }
}

/// Builds a batch in one buffer, which is kept from batch to batch.
#[derive(Debug, Default)]
pub(super) struct BatchWriter {
    buffer: Vec<u8>,
    records: u32,
}

impl BatchWriter {
    pub(super) fn begin(&mut self) {
        self.buffer.clear();
        self.buffer.resize(BATCH_HEADER_BYTES, 0);
        self.records = 0;
    }

    /// Bytes so far, the header included.
    pub(super) fn len(&self) -> usize {
        self.buffer.len()
    }

    pub(super) fn push(&mut self, partition: DiskPartition, offset: u64, key: &[u8], value: &[u8]) {
        let start = self.buffer.len();
        let length = RECORD_HEADER_BYTES + key.len() + value.len();
        self.buffer.reserve(length);
        let mut header = [0; RECORD_HEADER_BYTES];
        header[4..8].copy_from_slice(&(length as u32).to_le_bytes());
        header[8..10].copy_from_slice(&partition.topic.to_le_bytes());
        header[10..12].copy_from_slice(&partition.partition.to_le_bytes());
        header[12..16].copy_from_slice(&(key.len() as u32).to_le_bytes());
        header[16..24].copy_from_slice(&offset.to_le_bytes());
        self.buffer.extend_from_slice(&header);
        self.buffer.extend_from_slice(key);
        self.buffer.extend_from_slice(value);
        let crc = crc32fast::hash(&self.buffer[start + 4..]);
        self.buffer[start..start + 4].copy_from_slice(&crc.to_le_bytes());
        self.records += 1;
    }

    /// Completes the batch.
    pub(super) fn finish(&mut self, salt: u32, number: u64, unix_ms: u64) -> &[u8] {
        let body_bytes = (self.buffer.len() - BATCH_HEADER_BYTES) as u32;
        let header = BatchHeader { body_bytes, number, unix_ms, records: self.records };
        self.buffer[..BATCH_HEADER_BYTES].copy_from_slice(&header.encode(salt));
        &self.buffer
    }
}

/// A record in a batch's body, its checksum not looked at yet.
#[derive(Debug)]
pub(super) struct RawRecord {
    pub(super) partition: DiskPartition,
    pub(super) offset: u64,
    bytes: Bytes,
    key_bytes: usize,
}

impl RawRecord {
    pub(super) fn is_sound(&self) -> bool {
        crc32fast::hash(&self.bytes[4..]) == u32_at(&self.bytes, 0)
    }

    pub(super) fn key(&self) -> Bytes {
        self.bytes.slice(RECORD_HEADER_BYTES..RECORD_HEADER_BYTES + self.key_bytes)
    }

    pub(super) fn value(&self) -> Bytes {
        self.bytes.slice(RECORD_HEADER_BYTES + self.key_bytes..)
    }
}

/// Walks through the records of a batch's body. Lengths that can't be end the walk with `Err`.
pub(super) struct Records {
    body: Bytes,
}

impl Records {
    pub(super) fn of(body: Bytes) -> Records {
        Records { body }
    }
}

impl Iterator for Records {
    type Item = Result<RawRecord, ()>;

    fn next(&mut self) -> Option<Result<RawRecord, ()>> {
        if self.body.is_empty() {
            return None;
        }
        if self.body.len() < RECORD_HEADER_BYTES {
            self.body.clear();
            return Some(Err(()));
        }
        let length = u32_at(&self.body, 4) as usize;
        let key_bytes = u32_at(&self.body, 12) as usize;
        if length > self.body.len()
            || length < RECORD_HEADER_BYTES
            || key_bytes > length - RECORD_HEADER_BYTES
        {
            self.body.clear();
            return Some(Err(()));
        }
        let partition = DiskPartition { topic: u16_at(&self.body, 8), partition: u16_at(&self.body, 10) };
        let offset = u64_at(&self.body, 16);
        Some(Ok(RawRecord { partition, offset, bytes: self.body.split_to(length), key_bytes }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SALT: u32 = 77;
    const HERE: DiskPartition = DiskPartition { topic: 3, partition: 500 };

    #[test]
    fn what_is_written_is_read() {
        let mut writer = BatchWriter::default();
        for round in 0..2u64 {
            writer.begin();
            writer.push(HERE, 7 + round, b"key", b"value");
            writer.push(HERE, 8 + round, b"", b"");
            let bytes = Bytes::copy_from_slice(writer.finish(SALT, 42, 99));
            let header = BatchHeader::decode(&bytes, SALT).unwrap();
            assert_eq!((header.number, header.unix_ms, header.records), (42, 99, 2));
            assert_eq!(BatchHeader::decode(&bytes, SALT + 1), None);
            assert_eq!(header.body_bytes as usize, bytes.len() - BATCH_HEADER_BYTES);
            let records: Vec<_> =
                Records::of(bytes.slice(BATCH_HEADER_BYTES..)).map(Result::unwrap).collect();
            assert!(records.iter().all(|record| record.is_sound() && record.partition == HERE));
            assert_eq!((records[0].offset, records[1].offset), (7 + round, 8 + round));
            assert_eq!((&records[0].key()[..], &records[0].value()[..]), (&b"key"[..], &b"value"[..]));
            assert!(records[1].key().is_empty() && records[1].value().is_empty());
        }
        let header = SegmentHeader {
            first_batch: 5,
            unix_ms: 6,
            salt: SALT,
            next_offsets: vec![(HERE, 7), (HERE, 8)],
        };
        let bytes = header.encode();
        assert_eq!(SegmentHeader::length(&bytes), Some(bytes.len()));
        assert_eq!(SegmentHeader::decode(&bytes), Some(header));
    }

    /// No bit of a record, a batch header or a segment header can change unnoticed.
    #[test]
    fn every_flipped_bit_is_seen() {
        let mut writer = BatchWriter::default();
        writer.begin();
        writer.push(HERE, 7, b"key", b"value");
        let good = writer.finish(SALT, 42, 99).to_vec();
        let header =
            SegmentHeader { first_batch: 5, unix_ms: 6, salt: SALT, next_offsets: vec![(HERE, 7)] }.encode();
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            if bit / 8 < BATCH_HEADER_BYTES {
                assert_eq!(BatchHeader::decode(&bad, SALT), None);
            } else {
                let mut records = Records::of(Bytes::from(bad).slice(BATCH_HEADER_BYTES..));
                let sound = records.all(|record| record.is_ok_and(|record| record.is_sound()));
                assert!(!sound, "bit {bit}");
            }
        }
        for bit in 0..header.len() * 8 {
            let mut bad = header.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert_eq!(SegmentHeader::decode(&bad), None, "bit {bit}");
        }
    }
}
