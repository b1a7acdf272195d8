//! `conv_seq:{conversation_id}`: how far a conversation goes at least, as decimal text.
//!
//! A last seq only rises (after a restore of older data the cache begins empty), so what stands here is never
//! too high. It may be too low: a write was lost, or two came in the wrong order. So it answers only what no
//! higher seq could change, a page that ends before it; where a conversation ends, and which seq comes next, is
//! said by the database.
//!
//! There is one key for each conversation, and sessions live in the same bounded cache: so only the newest
//! `conv_seq_max` keys are kept, and the oldest is removed for a new one.
use std::collections::{HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use super::Caches;
use crate::metrics::{CacheKind, Looked};

/// These keys don't expire; the cache wants a number.
const NEVER: Duration = Duration::from_secs(100 * 365 * 24 * 3600);

fn key(conversation_id: &str) -> String {
    format!("conv_seq:{conversation_id}")
}

impl Caches {
    /// A seq that the conversation has reached; None when nothing is known.
    pub(crate) async fn reached_seq(&self, conversation_id: &str) -> Option<u64> {
        let found = self.readable(CacheKind::ConvSeq, self.cache.get(&key(conversation_id)).await)?;
        let looked = if found.is_some() { Looked::Hit } else { Looked::Miss };
        self.metrics.cache_read(CacheKind::ConvSeq, looked, 1);
        let seq = std::str::from_utf8(&found?).ok().and_then(|text| text.parse().ok());
        if seq.is_none() {
            self.metrics.cache_unreadable(CacheKind::ConvSeq);
        }
        seq
    }

    /// Keeps the last seq of a conversation, after the commit that wrote it.
    pub(crate) async fn keep_reached_seq(&self, conversation_id: &str, seq: u64) {
        if let Some(oldest) = self.conv_seqs.admit(conversation_id) {
            self.written(CacheKind::ConvSeq, self.cache.del(&key(&oldest)).await);
        }
        let set = self.cache.set(&key(conversation_id), seq.to_string().into(), NEVER).await;
        self.written(CacheKind::ConvSeq, set);
    }
}

/// Which conversations have a key, in the order in which they got it.
pub(super) struct KeptSeqs {
    max: usize,
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    known: HashSet<Arc<str>>,
    order: VecDeque<Arc<str>>,
}

impl KeptSeqs {
    pub(super) fn new(max: usize) -> Self {
        Self { max: max.max(1), state: Mutex::default() }
    }

    /// Makes room for a conversation: answers the one whose key must go.
    fn admit(&self, conversation_id: &str) -> Option<Arc<str>> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.known.contains(conversation_id) {
            return None;
        }
        let name: Arc<str> = conversation_id.into();
        state.known.insert(name.clone());
        state.order.push_back(name);
        if state.order.len() <= self.max {
            return None;
        }
        let oldest = state.order.pop_front()?;
        state.known.remove(&oldest);
        Some(oldest)
    }
}
