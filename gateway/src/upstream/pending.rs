//! Sends that the queue has not confirmed yet; pure. One table a shard: its capacity is the shard's bound of
//! sends in flight, and therefore of acks that other threads post back.

use bytes::Bytes;
use gochat_core::ConnId;
use slab::Slab;

/// What the answer to a send needs.
#[derive(Debug)]
pub(crate) struct PendingSend {
    pub(crate) conn: ConnId,
    pub(crate) conversation_id: Bytes,
    pub(crate) client_msg_id: Bytes,
    /// The frame's `id`, as JSON.
    pub(crate) id: Option<Box<str>>,
    /// Position among the connection's sends.
    pub(crate) order: u32,
    /// When it came, by the shard's clock.
    pub(crate) admitted_ms: u64,
}

/// Names an entry for as long as it is in the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ticket(usize);

/// Grows as needed up to its bound. Each ticket is taken back exactly once, by its confirmation, so that tickets
/// need no generation.
#[derive(Debug)]
pub(crate) struct Pending {
    entries: Slab<PendingSend>,
    max: usize,
}

impl Pending {
    /// At most `max` entries.
    pub(crate) fn new(max: usize) -> Self {
        Pending { entries: Slab::new(), max }
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(crate) fn is_full(&self) -> bool {
        self.entries.len() >= self.max
    }

    /// Gives the entry back when the table is full.
    pub(crate) fn insert(&mut self, entry: PendingSend) -> Result<Ticket, PendingSend> {
        if self.is_full() {
            return Err(entry);
        }
        Ok(Ticket(self.entries.insert(entry)))
    }

    /// None for a ticket that is not out: nothing does that.
    pub(crate) fn take(&mut self, ticket: Ticket) -> Option<PendingSend> {
        self.entries.try_remove(ticket.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(order: u32) -> PendingSend {
        PendingSend {
            conn: ConnId::from_u64(1),
            conversation_id: Bytes::from_static(b"world"),
            client_msg_id: Bytes::from_static(b"c"),
            id: None,
            order,
            admitted_ms: 0,
        }
    }

    #[test]
    fn entries_come_back_once_and_their_places_are_used_again() {
        let mut pending = Pending::new(2);
        let first = pending.insert(entry(1)).expect("room");
        let second = pending.insert(entry(2)).expect("room");
        assert!(pending.is_full());
        assert_eq!(pending.insert(entry(3)).expect_err("full").order, 3);
        assert_eq!(pending.take(first).expect("out").order, 1);
        assert!(pending.take(first).is_none());
        let third = pending.insert(entry(4)).expect("room again");
        assert_eq!(pending.take(second).expect("out").order, 2);
        assert_eq!(pending.take(third).expect("out").order, 4);
        assert_eq!(pending.len(), 0);
        for round in 0..10 {
            let ticket = pending.insert(entry(round)).expect("room");
            assert_eq!(pending.take(ticket).expect("out").order, round);
        }
        assert!(pending.entries.capacity() <= 4, "freed places are used again");
    }
}
