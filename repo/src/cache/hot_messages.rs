//! `hot_messages:{conversation_id}`: the newest messages by seq, as protobuf.
//!
//! A message never changes and seqs are dense, so a page from here is right when it has every seq that was
//! asked for; how far the conversation goes is said by the database.
use std::ops::RangeInclusive;
use std::time::Duration;

use bytes::Bytes;
use gochat_infra::cache::Order;
use gochat_proto::common::v1::Message;
use prost::Message as _;

use super::Caches;
use crate::metrics::{CacheKind, Looked};
use crate::store::{From, MessagesQuery, Page};

fn key(conversation_id: &str) -> String {
    format!("hot_messages:{conversation_id}")
}

/// The seqs that a page consists of when the conversation's last seq is `head`, and whether more follow.
pub(crate) fn wanted(query: &MessagesQuery, head: u64) -> (RangeInclusive<u64>, bool) {
    let (low, high) = (query.min_seq.max(1), query.max_seq.min(head));
    let limit = u64::from(query.limit);
    let from_end = |last: u64| {
        let first = low.max((last + 1).saturating_sub(limit));
        (first..=last, first > low)
    };
    match query.from {
        From::After(seq) => {
            let first = low.max(seq.saturating_add(1));
            let last = high.min(first.saturating_add(limit - 1));
            (first..=last, last < high)
        }
        From::Before(seq) => from_end(high.min(seq.saturating_sub(1))),
        From::Newest => from_end(high),
    }
}

impl Caches {
    /// These messages, if every one of them is kept.
    pub(crate) async fn hot_page(
        &self,
        conversation_id: &str,
        (seqs, has_more): (RangeInclusive<u64>, bool),
    ) -> Option<Page<Message>> {
        if seqs.is_empty() {
            return Some(Page { items: Vec::new(), has_more: false });
        }
        let count = seqs.end() - seqs.start() + 1;
        if count > self.config.hot_messages_max as u64 {
            return None;
        }
        let found =
            self.cache.zrange(&key(conversation_id), seqs.clone(), count as usize, Order::Oldest).await;
        let found = self.readable(CacheKind::HotMessages, found)?;
        let complete = found.iter().map(|(seq, _)| *seq).eq(seqs);
        let looked = if complete { Looked::Hit } else { Looked::Miss };
        self.metrics.cache_read(CacheKind::HotMessages, looked, 1);
        if !complete {
            return None;
        }
        let read: Option<Vec<Message>> =
            found.into_iter().map(|(_, value)| Message::decode(value).ok()).collect();
        if read.is_none() {
            self.metrics.cache_unreadable(CacheKind::HotMessages);
        }
        Some(Page { items: read?, has_more })
    }

    /// Keeps messages of one conversation, ascending by seq.
    pub(crate) async fn keep_hot(&self, conversation_id: &str, messages: &[Message]) {
        let newest = &messages[messages.len().saturating_sub(self.config.hot_messages_max)..];
        if newest.is_empty() {
            return;
        }
        let members: Vec<(u64, Bytes)> =
            newest.iter().map(|message| (message.seq_id, message.encode_to_vec().into())).collect();
        let ttl = Duration::from_secs(self.config.hot_messages_ttl_s);
        let (keep, key) = (self.config.hot_messages_max, key(conversation_id));
        self.written(CacheKind::HotMessages, self.cache.zadd(&key, &members, keep, ttl).await);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut_at_the_bounds() {
        let check = |from, bounds: (u64, u64), limit, head, expect: (RangeInclusive<u64>, bool)| {
            let query = MessagesQuery { from, limit, min_seq: bounds.0, max_seq: bounds.1 };
            let got = wanted(&query, head);
            let same = got == expect || (got.0.is_empty() && expect.0.is_empty() && got.1 == expect.1);
            assert!(same, "{from:?} {bounds:?} {limit} {head}: {got:?}");
        };
        let all = (0, u64::MAX);
        let nothing = RangeInclusive::new(1, 0);
        check(From::Newest, all, 50, 0, (nothing.clone(), false));
        check(From::Newest, all, 50, 7, (1..=7, false));
        check(From::Newest, all, 5, 7, (3..=7, true));
        check(From::Newest, (4, 6), 2, 9, (5..=6, true));
        check(From::Newest, (4, 6), 3, 9, (4..=6, false));
        check(From::After(0), all, 3, 7, (1..=3, true));
        check(From::After(4), all, 3, 7, (5..=7, false));
        check(From::After(7), all, 3, 7, (nothing.clone(), false));
        check(From::After(u64::MAX), all, 3, 7, (nothing.clone(), false));
        check(From::After(0), (5, 6), 3, 7, (5..=6, false));
        check(From::Before(5), all, 3, 7, (2..=4, true));
        check(From::Before(4), all, 3, 7, (1..=3, false));
        check(From::Before(1), all, 3, 7, (nothing.clone(), false));
        check(From::Before(0), all, 3, 7, (nothing, false));
        check(From::Before(99), all, 3, 7, (5..=7, true));
    }
}
