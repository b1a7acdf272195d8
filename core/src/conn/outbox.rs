//! What waits to be written to one connection. Pure; its owner keeps the budgets.

use crate::ws::Frame;
use std::collections::VecDeque;

/// Frames in order. Exists only while it is not empty; then it goes back to the shard's free list.
#[derive(Default)]
pub(crate) struct Outbox {
    frames: VecDeque<Frame>,
    /// Bytes of the first frame that are written.
    written: usize,
    /// Bytes that are left.
    bytes: usize,
}

impl Outbox {
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// Memory that it takes itself, without its frames.
    pub(crate) fn capacity_bytes(&self) -> usize {
        size_of::<Outbox>() + self.frames.capacity() * size_of::<Frame>()
    }

    pub(crate) fn push(&mut self, frame: Frame) {
        self.bytes += frame.wire_len();
        self.frames.push_back(frame);
    }

    /// The bytes of one write: the only frame as it is, or as many as fit joined in `join` (at least a part of one).
    pub(crate) fn next_write<'a>(&'a self, join: &'a mut Vec<u8>, join_max_bytes: usize) -> &'a [u8] {
        let mut frames = self.frames.iter();
        let Some(first) = frames.next() else { return &[] };
        let first = &first.as_bytes()[self.written..];
        if self.frames.len() == 1 || first.len() >= join_max_bytes {
            return first;
        }
        join.clear();
        join.extend_from_slice(first);
        for frame in frames {
            let room = join_max_bytes - join.len();
            let bytes = frame.as_bytes();
            join.extend_from_slice(&bytes[..bytes.len().min(room)]);
            if room <= bytes.len() {
                break;
            }
        }
        join
    }

    /// Notes that `count` bytes were written.
    pub(crate) fn advance(&mut self, count: usize) {
        debug_assert!(count <= self.bytes);
        self.bytes -= count;
        self.written += count;
        while let Some(first) = self.frames.front()
            && self.written >= first.wire_len()
        {
            self.written -= first.wire_len();
            self.frames.pop_front();
        }
    }

    /// Drops what is not begun: a frame that is half written must be finished, or the peer reads garbage. Returns how
    /// many frames were dropped.
    pub(crate) fn drop_unbegun(&mut self) -> usize {
        let keep = usize::from(self.written > 0);
        let dropped = self.frames.len() - keep;
        self.frames.truncate(keep);
        self.bytes = self.frames.front().map_or(0, |first| first.wire_len() - self.written);
        dropped
    }

    /// Empties it for the free list. Returns how many frames were dropped.
    pub(crate) fn reset(&mut self) -> usize {
        let dropped = self.frames.len();
        self.frames.clear();
        self.frames.shrink_to(64);
        (self.written, self.bytes) = (0, 0);
        dropped
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_begun_frame_survives_and_the_rest_goes() {
        let mut outbox = Outbox::default();
        for text in ["one", "two", "three"] {
            outbox.push(Frame::text(text.as_bytes()));
        }
        outbox.advance(2);
        assert_eq!(outbox.drop_unbegun(), 2);
        assert_eq!(outbox.next_write(&mut Vec::new(), 1024), b"one");
        outbox.advance(3);
        assert_eq!(outbox.bytes(), 0);
        outbox.push(Frame::text(b"four"));
        assert_eq!(outbox.drop_unbegun(), 1);
        assert_eq!(outbox.bytes(), 0);
    }

    proptest! {
        #[test]
        fn any_sizes_and_any_partial_writes_give_the_frames_in_order(
            texts in prop::collection::vec("[a-z]{0,300}", 1..20),
            takes in prop::collection::vec(1usize..400, 1..200),
            join in 16usize..600,
        ) {
            let mut outbox = Outbox::default();
            let mut expect = Vec::new();
            for text in &texts {
                let frame = Frame::text(text.as_bytes());
                expect.extend_from_slice(frame.as_bytes());
                outbox.push(frame);
            }
            let (mut buffer, mut got) = (Vec::new(), Vec::new());
            for take in takes.into_iter().chain(std::iter::repeat(1_000)) {
                let write = outbox.next_write(&mut buffer, join);
                if write.is_empty() {
                    break;
                }
                let taken = write.len().min(take);
                got.extend_from_slice(&write[..taken]);
                outbox.advance(taken);
                prop_assert_eq!(outbox.bytes(), expect.len() - got.len());
            }
            prop_assert_eq!(got, expect);
        }
    }
}
