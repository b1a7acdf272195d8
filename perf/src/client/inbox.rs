//! What one user receives in one conversation, put into order: doubles dropped, holes noticed and filled.

use std::collections::BTreeMap;

use crate::checker::Entry;
use crate::config::ClientRules;

/// The receiving side of one conversation. `have` is contiguous; what comes above a hole waits in `ahead`.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    have: u64,
    ahead: BTreeMap<u64, Entry>,
    /// The highest seq that the server is known to hold for us.
    known: u64,
    /// When an open hole (or a known tail that did not come) becomes a sync.
    sync_due_us: Option<u64>,
    sync_asked_us: Option<u64>,
    /// The hole was seen on a live connection: its sync is counted as one.
    hole_is_live: bool,
}

/// What a message turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// It can be given to the application, or waits above a hole: ask [`Inbox::next_ready`].
    Taken,
    /// (conversation, seq) is known.
    Double,
    /// Too much waits already; a sync will bring it again.
    Dropped,
}

impl Inbox {
    /// Everything up to `base` is history that this load does not look at.
    pub(crate) fn new(base: u64) -> Self {
        Inbox { have: base, known: base, ..Inbox::default() }
    }

    pub(crate) fn have(&self) -> u64 {
        self.have
    }

    /// Some seq above what is here is known to exist at the server.
    pub(crate) fn is_behind(&self) -> bool {
        self.have < self.known
    }

    /// The server is known to hold `seq`.
    pub(crate) fn learn(&mut self, seq: u64) {
        self.known = self.known.max(seq);
    }

    #[must_use]
    pub(crate) fn arrive(&mut self, entry: Entry, rules: &ClientRules) -> Arrival {
        if entry.seq <= self.have || self.ahead.contains_key(&entry.seq) {
            return Arrival::Double;
        }
        self.learn(entry.seq);
        if self.ahead.len() >= rules.ahead_messages_max && entry.seq != self.have + 1 {
            return Arrival::Dropped;
        }
        self.ahead.insert(entry.seq, entry);
        Arrival::Taken
    }

    /// The next message in order, if it is here.
    pub(crate) fn next_ready(&mut self) -> Option<Entry> {
        let first = self.ahead.first_entry()?;
        if *first.key() != self.have + 1 {
            return None;
        }
        self.have += 1;
        Some(first.remove())
    }

    /// To be called after arrivals: starts the wait for what is missing, ends it when nothing is.
    pub(crate) fn watch_hole(&mut self, now_us: u64, wait_us: u64) {
        if !self.is_behind() {
            self.sync_due_us = None;
            self.hole_is_live = false;
        } else if self.sync_due_us.is_none() && self.sync_asked_us.is_none() {
            self.sync_due_us = Some(now_us + wait_us);
            self.hole_is_live = true;
        }
    }

    /// Asks for a sync now, whatever the hole's wait (heads said that something is missing).
    pub(crate) fn sync_now(&mut self, now_us: u64) {
        if self.sync_asked_us.is_none() {
            self.sync_due_us = Some(now_us);
        }
    }

    /// A page comes without our asking (heads with a page limit): asking again waits for its answer.
    pub(crate) fn page_is_coming(&mut self, now_us: u64) {
        self.sync_asked_us = Some(now_us);
        self.sync_due_us = None;
    }

    /// A sync has to be sent now, after seq [`Inbox::have`]. `Some(true)`: for a hole in live delivery.
    pub(crate) fn take_sync(&mut self, now_us: u64, rules: &ClientRules) -> Option<bool> {
        if self.sync_asked_us.is_some_and(|at| now_us >= at + rules.answer_wait_ms * 1000) {
            self.sync_asked_us = None;
            self.sync_due_us = Some(now_us);
        }
        if self.sync_due_us.is_none_or(|due| now_us < due) {
            return None;
        }
        self.sync_due_us = None;
        self.sync_asked_us = Some(now_us);
        Some(std::mem::take(&mut self.hole_is_live))
    }

    /// The server's answer to "after `have`" begins at `first_seq`: what lies between does not exist. The
    /// promise of dense seqs is broken then, which the checker will tell; a client has to go on.
    pub(crate) fn skip_to(&mut self, first_seq: u64) {
        if self.sync_asked_us.is_some() {
            let next = self.ahead.first_key_value().map_or(first_seq, |(seq, _)| first_seq.min(*seq));
            self.have = self.have.max(next.saturating_sub(1));
        }
    }

    /// A page was taken in. More are asked for while the server has more or we know of more.
    pub(crate) fn page_done(&mut self, now_us: u64, brought_any: bool, has_more: bool, wait_us: u64) {
        self.sync_asked_us = None;
        if has_more && brought_any {
            self.sync_due_us = Some(now_us);
        } else if self.is_behind() {
            // The page did not bring what is known to exist: ask again, at the pace of holes.
            self.sync_due_us = Some(now_us + wait_us);
        }
    }

    /// The server could not answer now.
    pub(crate) fn sync_failed(&mut self, now_us: u64, wait_us: u64) {
        self.sync_asked_us = None;
        self.sync_due_us = Some(now_us + wait_us);
    }

    /// Questions die with their connection.
    pub(crate) fn disconnected(&mut self) {
        self.sync_asked_us = None;
        self.sync_due_us = None;
        self.hole_is_live = false;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WAIT_US: u64 = 300;

    fn rules() -> ClientRules {
        ClientRules { ahead_messages_max: 2, answer_wait_ms: 1, ..ClientRules::default() }
    }

    fn arrive(inbox: &mut Inbox, seq: u64) -> (Arrival, Vec<u64>) {
        let arrival = inbox.arrive(Entry { seq, message_id: seq, key: None }, &rules());
        (arrival, std::iter::from_fn(|| inbox.next_ready()).map(|entry| entry.seq).collect())
    }

    #[test]
    fn order_is_made_and_doubles_are_dropped() {
        let mut inbox = Inbox::new(5);
        assert_eq!(arrive(&mut inbox, 5), (Arrival::Double, vec![]));
        assert_eq!(arrive(&mut inbox, 7), (Arrival::Taken, vec![]));
        assert_eq!(arrive(&mut inbox, 7), (Arrival::Double, vec![]));
        assert_eq!(arrive(&mut inbox, 8), (Arrival::Taken, vec![]));
        assert_eq!(arrive(&mut inbox, 9), (Arrival::Dropped, vec![]));
        assert_eq!(arrive(&mut inbox, 6), (Arrival::Taken, vec![6, 7, 8]));
        assert_eq!(inbox.have(), 8);
        assert!(inbox.is_behind(), "9 is known to exist");
    }

    #[test]
    fn an_open_hole_becomes_one_sync_after_the_wait() {
        let mut inbox = Inbox::new(0);
        let _ = arrive(&mut inbox, 2);
        inbox.watch_hole(100, WAIT_US);
        assert_eq!(inbox.take_sync(399, &rules()), None);
        assert_eq!(inbox.take_sync(400, &rules()), Some(true));
        assert_eq!(inbox.take_sync(401, &rules()), None, "one question at a time");
        assert_eq!(inbox.take_sync(1_400, &rules()), Some(false), "no answer: asked again");
        assert_eq!(arrive(&mut inbox, 1), (Arrival::Taken, vec![1, 2]));
        inbox.page_done(1_500, true, false, WAIT_US);
        inbox.watch_hole(1_500, WAIT_US);
        assert_eq!(inbox.take_sync(9_000, &rules()), None);
    }

    #[test]
    fn a_hole_that_closes_by_itself_is_no_sync() {
        let mut inbox = Inbox::new(0);
        let _ = arrive(&mut inbox, 2);
        inbox.watch_hole(100, WAIT_US);
        let _ = arrive(&mut inbox, 1);
        inbox.watch_hole(200, WAIT_US);
        assert_eq!(inbox.take_sync(9_000, &rules()), None);
    }

    #[test]
    fn pages_are_asked_for_until_all_that_is_known_is_here() {
        let mut inbox = Inbox::new(0);
        inbox.learn(3);
        inbox.sync_now(0);
        assert_eq!(inbox.take_sync(0, &rules()), Some(false));
        let _ = arrive(&mut inbox, 1);
        inbox.page_done(10, true, true, WAIT_US);
        assert_eq!(inbox.take_sync(10, &rules()), Some(false));
        inbox.page_done(20, false, false, WAIT_US);
        assert_eq!(inbox.take_sync(20, &rules()), None, "an empty page does not spin");
        assert_eq!(inbox.take_sync(320, &rules()), Some(false));
        let _ = (arrive(&mut inbox, 2), arrive(&mut inbox, 3));
        inbox.page_done(400, true, false, WAIT_US);
        assert_eq!(inbox.take_sync(9_000, &rules()), None);
    }

    #[test]
    fn a_seq_that_the_server_does_not_have_is_passed_over() {
        let mut inbox = Inbox::new(0);
        let _ = arrive(&mut inbox, 3);
        inbox.skip_to(3);
        assert_eq!(inbox.have(), 0, "nobody asked");
        inbox.sync_now(0);
        assert_eq!(inbox.take_sync(0, &rules()), Some(false));
        inbox.skip_to(5);
        assert_eq!(inbox.have(), 2, "not over what came live");
        assert_eq!(arrive(&mut inbox, 3), (Arrival::Double, vec![3]));
    }
}
