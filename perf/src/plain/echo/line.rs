//! One connection's messages: what is due, what is on the wire, what came back. Pure.

use std::collections::VecDeque;

/// Replies come in order, so the oldest message on the wire is the one that a reply answers.
#[derive(Debug, Default)]
pub(super) struct Line {
    /// Due times of messages that wait for room on the wire.
    waiting: VecDeque<u64>,
    /// Due times of messages on the wire.
    flying: VecDeque<u64>,
    /// Replies while nothing was on the wire.
    pub(super) unasked: u64,
}

impl Line {
    pub(super) fn push(&mut self, due_us: u64) {
        self.waiting.push_back(due_us);
    }

    /// How many may be written now, with `depth` on the wire at most; they count as written.
    pub(super) fn depart(&mut self, depth: usize) -> usize {
        let count = self.waiting.len().min(depth.saturating_sub(self.flying.len()));
        self.flying.extend(self.waiting.drain(..count));
        count
    }

    /// A reply came: when its message was due. `None`: nothing was asked.
    pub(super) fn arrive(&mut self) -> Option<u64> {
        let due_us = self.flying.pop_front();
        self.unasked += u64::from(due_us.is_none());
        due_us
    }

    pub(super) fn unanswered(&self) -> usize {
        self.waiting.len() + self.flying.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_that_had_to_wait_keeps_its_due_time() {
        let mut line = Line::default();
        [10, 20, 30].into_iter().for_each(|due_us| line.push(due_us));
        assert_eq!((line.depart(2), line.depart(2)), (2, 0));
        assert_eq!((line.arrive(), line.depart(2), line.unanswered()), (Some(10), 1, 2));
        assert_eq!((line.arrive(), line.arrive(), line.arrive()), (Some(20), Some(30), None));
        assert_eq!((line.unanswered(), line.unasked), (0, 1));
    }
}
