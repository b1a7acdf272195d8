//! What one user has written and not yet got a final answer for, in his order.

use std::collections::VecDeque;

use crate::config::ClientRules;

/// The unfinished messages of one user in one conversation. Re-sends keep the order: whatever is due on
/// the wire goes in ascending `n`.
#[derive(Debug, Default)]
pub(crate) struct Outbox {
    queue: VecDeque<Pending>,
    in_flight: usize,
    /// A `retry` asked for silence until then.
    not_before_us: u64,
}

#[derive(Debug)]
struct Pending {
    n: u32,
    /// When it was last written to the present connection; `None`: has to be (again).
    wired_at_us: Option<u64>,
    wired_before: bool,
}

/// A message to write now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Sendable {
    pub(crate) n: u32,
    pub(crate) again: bool,
}

impl Outbox {
    /// False: full, the message is not taken.
    #[must_use]
    pub(crate) fn push(&mut self, n: u32, rules: &ClientRules) -> bool {
        if self.queue.len() >= rules.outbox_messages_max {
            return false;
        }
        self.queue.push_back(Pending { n, wired_at_us: None, wired_before: false });
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    /// The next message to write, marked as written; `None`: nothing to do, or not now.
    pub(crate) fn next_sendable(&mut self, now_us: u64, rules: &ClientRules) -> Option<Sendable> {
        if now_us < self.not_before_us || self.in_flight >= rules.in_flight_max {
            return None;
        }
        let pending = self.queue.iter_mut().find(|pending| pending.wired_at_us.is_none())?;
        self.in_flight += 1;
        pending.wired_at_us = Some(now_us);
        Some(Sendable { n: pending.n, again: std::mem::replace(&mut pending.wired_before, true) })
    }

    /// A final answer: forget the message. False: it was final before.
    pub(crate) fn finish(&mut self, n: u32) -> bool {
        let Ok(index) = self.queue.binary_search_by_key(&n, |pending| pending.n) else { return false };
        if let Some(pending) = self.queue.remove(index) {
            self.in_flight -= usize::from(pending.wired_at_us.is_some());
        }
        true
    }

    /// `retry`: its outcome and that of all later ones is unknown, so they go again in order, after
    /// the pause that the server asked for.
    pub(crate) fn retry(&mut self, n: u32, now_us: u64, after_us: u64) {
        let Ok(index) = self.queue.binary_search_by_key(&n, |pending| pending.n) else { return };
        if self.queue[index].wired_at_us.is_none() {
            // One refusal answers each message that was on the wire; the first of them set the pause.
            return;
        }
        self.not_before_us = self.not_before_us.max(now_us + after_us);
        for pending in self.queue.range_mut(index..) {
            self.in_flight -= usize::from(pending.wired_at_us.take().is_some());
        }
    }

    /// Messages without a final answer for too long go again, the pipe may have lost them.
    pub(crate) fn expire(&mut self, now_us: u64, rules: &ClientRules) {
        for pending in &mut self.queue {
            if pending.wired_at_us.is_some_and(|at| now_us >= at + rules.resend_after_ms * 1000) {
                pending.wired_at_us = None;
                self.in_flight -= 1;
            }
        }
    }

    /// The connection is gone: everything unfinished goes again on the next one.
    pub(crate) fn disconnected(&mut self) {
        self.queue.iter_mut().for_each(|pending| pending.wired_at_us = None);
        self.in_flight = 0;
        self.not_before_us = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> ClientRules {
        ClientRules {
            in_flight_max: 3,
            outbox_messages_max: 5,
            resend_after_ms: 10,
            ..ClientRules::default()
        }
    }

    fn filled(count: u32) -> Outbox {
        let mut outbox = Outbox::default();
        assert!((0..count).all(|n| outbox.push(n, &rules())));
        outbox
    }

    fn drain(outbox: &mut Outbox, now_us: u64) -> Vec<(u32, bool)> {
        std::iter::from_fn(|| outbox.next_sendable(now_us, &rules())).map(|s| (s.n, s.again)).collect()
    }

    #[test]
    fn the_window_and_the_bound_hold() {
        let mut outbox = filled(5);
        assert!(!outbox.push(5, &rules()));
        assert_eq!(drain(&mut outbox, 0), [(0, false), (1, false), (2, false)]);
        assert!(outbox.finish(1) && !outbox.finish(1));
        assert_eq!(drain(&mut outbox, 0), [(3, false)]);
        assert_eq!(outbox.len(), 4);
    }

    #[test]
    fn a_retry_sends_again_from_there_in_order_after_the_pause() {
        let mut outbox = filled(4);
        drain(&mut outbox, 0);
        outbox.retry(1, 100, 500);
        outbox.retry(2, 120, 900);
        assert_eq!(drain(&mut outbox, 599), []);
        assert_eq!(drain(&mut outbox, 600), [(1, true), (2, true)]);
        assert!(outbox.finish(0));
        assert_eq!(drain(&mut outbox, 600), [(3, false)]);
    }

    #[test]
    fn silence_and_a_lost_connection_send_again() {
        let mut outbox = filled(2);
        drain(&mut outbox, 0);
        outbox.expire(9_999, &rules());
        assert_eq!(drain(&mut outbox, 9_999), []);
        outbox.expire(10_000, &rules());
        assert_eq!(drain(&mut outbox, 10_000), [(0, true), (1, true)]);
        outbox.disconnected();
        assert_eq!(drain(&mut outbox, 10_001), [(0, true), (1, true)]);
        assert!(outbox.finish(0) && outbox.finish(1) && outbox.len() == 0);
    }
}
