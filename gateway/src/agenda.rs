//! When which connection of a shard needs a look; pure. One entry a connection, one timer of the shard.

use std::collections::BTreeSet;

use gochat_core::ConnId;

/// Due times in milliseconds of the shard's clock. Also the list of all connections of the shard.
#[derive(Debug, Default)]
pub(crate) struct Agenda {
    entries: BTreeSet<(u64, u64)>,
    /// When the shard's timer will next fire for this agenda.
    armed_ms: Option<u64>,
}

impl Agenda {
    /// Moves a connection from `old_ms` (0: it has no entry) to `new_ms`, which is above 0.
    pub(crate) fn move_to(&mut self, conn: ConnId, old_ms: u64, new_ms: u64) {
        self.remove(conn, old_ms);
        self.entries.insert((new_ms, conn.to_u64()));
    }

    pub(crate) fn remove(&mut self, conn: ConnId, due_ms: u64) {
        self.entries.remove(&(due_ms, conn.to_u64()));
    }

    /// Takes the earliest entry that is due.
    pub(crate) fn pop_due(&mut self, now_ms: u64) -> Option<ConnId> {
        let &(due_ms, conn) = self.entries.first()?;
        if due_ms > now_ms {
            return None;
        }
        self.entries.pop_first();
        Some(ConnId::from_u64(conn))
    }

    /// The delay after which the timer has to be set, if it is not set early enough already.
    pub(crate) fn arm(&mut self, now_ms: u64) -> Option<u64> {
        let &(due_ms, _) = self.entries.first()?;
        if self.armed_ms.is_some_and(|armed_ms| armed_ms <= due_ms) {
            return None;
        }
        self.armed_ms = Some(due_ms);
        Some(due_ms.saturating_sub(now_ms).max(1))
    }

    /// The timer fired. One that was set for a later time and is still out only causes a needless look.
    pub(crate) fn fired(&mut self) {
        self.armed_ms = None;
    }

    /// Every connection of the shard, in no useful order.
    pub(crate) fn conns(&self) -> impl Iterator<Item = ConnId> {
        self.entries.iter().map(|&(_, conn)| ConnId::from_u64(conn))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn(raw: u64) -> ConnId {
        ConnId::from_u64(raw)
    }

    #[test]
    fn entries_come_when_due_and_the_timer_is_set_only_for_earlier_ones() {
        let mut agenda = Agenda::default();
        assert_eq!(agenda.arm(0), None);
        agenda.move_to(conn(1), 0, 100);
        assert_eq!(agenda.arm(10), Some(90));
        agenda.move_to(conn(2), 0, 200);
        assert_eq!(agenda.arm(10), None);
        agenda.move_to(conn(3), 0, 50);
        assert_eq!(agenda.arm(10), Some(40));
        assert_eq!(agenda.pop_due(49), None);
        assert_eq!(agenda.pop_due(150), Some(conn(3)));
        agenda.move_to(conn(1), 100, 300);
        assert_eq!(agenda.pop_due(150), None);
        agenda.fired();
        assert_eq!(agenda.arm(150), Some(50));
        agenda.remove(conn(2), 200);
        assert_eq!(agenda.conns().collect::<Vec<_>>(), [conn(1)]);
        assert_eq!(agenda.pop_due(300), Some(conn(1)));
        assert_eq!(agenda.pop_due(300), None);
    }

    #[test]
    fn what_is_overdue_is_looked_at_in_a_millisecond_and_never_at_once() {
        let mut agenda = Agenda::default();
        agenda.move_to(conn(1), 0, 5);
        assert_eq!(agenda.arm(90), Some(1));
    }
}
