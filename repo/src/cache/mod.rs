//! What the repository keeps in the caches: keys, lives, encodings.
//!
//! *Invariant:* nothing here is the truth but sessions, which live nowhere else. Every other reader goes to
//! the database when the cache fails, has nothing, or has something that can't be read.
mod conv_seq;
mod group_members;
mod hot_messages;
mod user_info;
mod user_session;

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use gochat_infra::cache::{Cache, CacheError};

pub(crate) use hot_messages::wanted;

use crate::config::CacheConfig;
use crate::metrics::{CacheKind, Looked, RepoMetrics};

/// The cache and what its keys mean.
pub(crate) struct Caches {
    cache: Cache,
    /// Holds `user_session` and nothing else.
    sessions: Cache,
    config: CacheConfig,
    metrics: RepoMetrics,
    log: LogGate,
    removals: user_info::PendingRemovals,
    conv_seqs: conv_seq::KeptSeqs,
}

impl Caches {
    pub(crate) fn new(cache: Cache, sessions: Cache, config: CacheConfig, metrics: RepoMetrics) -> Self {
        let log = LogGate::new(Duration::from_secs(config.failure_log_period_s));
        let removals = user_info::PendingRemovals::new(config.pending_removals_max);
        let conv_seqs = conv_seq::KeptSeqs::new(config.conv_seq_max);
        Self { cache, sessions, config, metrics, log, removals, conv_seqs }
    }

    /// Newest messages of a conversation that are kept.
    pub(crate) fn hot_messages_max(&self) -> usize {
        self.config.hot_messages_max
    }

    /// The answer, or None (counted and sometimes logged) when the cache failed.
    fn readable<T>(&self, kind: CacheKind, answer: Result<T, CacheError>) -> Option<T> {
        answer
            .inspect_err(|error| {
                self.metrics.cache_read(kind, Looked::Failed, 1);
                self.log_failure(error);
            })
            .ok()
    }

    /// Whether a write or removal went through; a failure is counted and sometimes logged.
    fn written<T>(&self, kind: CacheKind, answer: Result<T, CacheError>) -> bool {
        answer
            .inspect_err(|error| {
                self.metrics.cache_write_failed(kind);
                self.log_failure(error);
            })
            .is_ok()
    }

    fn log_failure(&self, error: &CacheError) {
        if self.log.passes() {
            tracing::warn!(%error, "the cache failed; going on with the database (further failures are counted)");
        }
    }
}

/// Lets one line pass in a period.
struct LogGate {
    began: Instant,
    period: Duration,
    /// Milliseconds after `began` from when the next line passes.
    next_ms: AtomicU64,
}

impl LogGate {
    fn new(period: Duration) -> Self {
        Self { began: Instant::now(), period, next_ms: AtomicU64::new(0) }
    }

    fn passes(&self) -> bool {
        let now = self.began.elapsed().as_millis() as u64;
        let next = self.next_ms.load(Ordering::Relaxed);
        let after = now + self.period.as_millis() as u64;
        now >= next
            && self.next_ms.compare_exchange(next, after, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
