//! Sends that the pipeline has not answered for, and how far it lags behind; pure.
//!
//! *Invariant:* a final answer that is lost never looks like a lag for longer than the next `stored` takes. The lag is
//! the age of the oldest send among those that came after the newest stored one; a send that others have overtaken
//! only counts, until it is given up.

use std::{
    collections::{HashMap, VecDeque},
    hash::{DefaultHasher, Hash, Hasher},
};

/// Names a send: its connection and its clientMsgId, hashed. Two that collide are counted as one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SendKey(u64);

impl SendKey {
    pub(crate) fn of(connection_id: u64, client_msg_id: &[u8]) -> Self {
        let mut hasher = DefaultHasher::new();
        (connection_id, client_msg_id).hash(&mut hasher);
        SendKey(hasher.finish())
    }
}

/// Times are milliseconds of the shard's clock.
#[derive(Debug)]
pub(crate) struct Unfinished {
    admitted_ms: HashMap<SendKey, u64>,
    /// As they came; those that were finished meanwhile stay until they are at the front.
    order: VecDeque<(u64, SendKey)>,
    /// From the front of `order`: overtaken by one that is stored.
    overtaken: VecDeque<(u64, SendKey)>,
    /// When the newest stored one had come.
    stored_ms: u64,
    forget_ms: u64,
}

impl Unfinished {
    /// A send that is not answered for `forget_ms` is given up.
    pub(crate) fn new(forget_ms: u64) -> Self {
        Unfinished {
            admitted_ms: HashMap::new(),
            order: VecDeque::new(),
            overtaken: VecDeque::new(),
            stored_ms: 0,
            forget_ms,
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.admitted_ms.len()
    }

    pub(crate) fn admit(&mut self, key: SendKey, now_ms: u64) {
        self.admitted_ms.insert(key, now_ms);
        self.order.push_back((now_ms, key));
    }

    /// The queue could not keep it, or it is rejected. Returns when it had come.
    pub(crate) fn end(&mut self, key: SendKey) -> Option<u64> {
        self.admitted_ms.remove(&key)
    }

    /// It is stored. Returns when it had come.
    pub(crate) fn stored(&mut self, key: SendKey) -> Option<u64> {
        let admitted_ms = self.end(key)?;
        self.stored_ms = self.stored_ms.max(admitted_ms);
        Some(admitted_ms)
    }

    /// Gives all of them up.
    pub(crate) fn clear(&mut self) {
        self.admitted_ms.clear();
        self.order.clear();
        self.overtaken.clear();
    }

    /// How far the pipeline lags behind.
    pub(crate) fn lag_ms(&mut self, now_ms: u64) -> u64 {
        while let Some(&(at_ms, key)) = self.overtaken.front()
            && self.is_over(at_ms, key, now_ms)
        {
            self.overtaken.pop_front();
        }
        while let Some(&(at_ms, key)) = self.order.front() {
            if !self.is_over(at_ms, key, now_ms) {
                if at_ms > self.stored_ms {
                    return now_ms.saturating_sub(at_ms);
                }
                self.overtaken.push_back((at_ms, key));
            }
            self.order.pop_front();
        }
        0
    }

    /// Whether this send, not a later one with the same ids, is finished, or is given up now.
    fn is_over(&mut self, at_ms: u64, key: SendKey, now_ms: u64) -> bool {
        if self.admitted_ms.get(&key) != Some(&at_ms) {
            return true;
        }
        let given_up = at_ms.saturating_add(self.forget_ms) <= now_ms;
        if given_up {
            self.end(key);
        }
        given_up
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: u64) -> SendKey {
        SendKey::of(n, b"c")
    }

    fn with(sends: &[(u64, u64)]) -> Unfinished {
        let mut unfinished = Unfinished::new(10_000);
        sends.iter().for_each(|(n, at_ms)| unfinished.admit(key(*n), *at_ms));
        unfinished
    }

    #[test]
    fn the_lag_is_the_age_of_the_oldest_unfinished() {
        let mut sends = with(&[(1, 100), (2, 150), (3, 200)]);
        assert_eq!((sends.lag_ms(300), sends.len()), (200, 3));
        assert_eq!(sends.stored(key(1)), Some(100));
        assert_eq!((sends.lag_ms(300), sends.len()), (150, 2));
        assert_eq!(sends.end(key(2)), Some(150));
        assert_eq!(sends.lag_ms(300), 100);
        assert_eq!(sends.stored(key(3)), Some(200));
        assert_eq!((sends.lag_ms(300), sends.len()), (0, 0));
        assert_eq!(sends.stored(key(3)), None, "answered twice");
    }

    #[test]
    fn a_lost_answer_is_no_lag_once_a_later_send_is_stored() {
        let mut sends = with(&[(1, 100), (2, 150), (3, 200)]);
        sends.stored(key(2));
        assert_eq!((sends.lag_ms(5_000), sends.len()), (4_800, 2), "1 was overtaken");
        sends.stored(key(3));
        assert_eq!((sends.lag_ms(5_000), sends.len()), (0, 1));
        assert_eq!((sends.lag_ms(10_100), sends.len()), (0, 0), "given up");
        assert!(sends.order.is_empty() && sends.overtaken.is_empty());
    }

    #[test]
    fn a_rejection_does_not_hide_a_lag() {
        let mut sends = with(&[(1, 100), (2, 150)]);
        sends.end(key(2));
        assert_eq!(sends.lag_ms(1_100), 1_000);
    }

    #[test]
    fn when_nothing_is_answered_the_oldest_are_given_up() {
        let mut sends = with(&[(1, 100), (2, 5_000)]);
        assert_eq!(sends.lag_ms(10_099), 9_999);
        assert_eq!((sends.lag_ms(10_100), sends.len()), (5_100, 1));
    }

    #[test]
    fn a_send_that_comes_again_counts_from_then() {
        let mut sends = with(&[(1, 100), (1, 400)]);
        assert_eq!((sends.lag_ms(500), sends.len()), (100, 1));
        assert_eq!(sends.stored(key(1)), Some(400));
        assert_eq!((sends.lag_ms(500), sends.len()), (0, 0));
    }
}
