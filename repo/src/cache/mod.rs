//! What the repository keeps in the caches: keys, lives, encodings.
//!
//! *Invariant:* nothing here is the truth but sessions, which live nowhere else. Every other reader goes to
//! the database when the cache fails, has nothing, or has something that can't be read.
mod conv_seq;
mod group_members;
mod hot_messages;
mod user_info;
mod user_session;

use std::time::{Duration, Instant};

use gochat_infra::cache::{Cache, CacheError};
use gochat_infra::telemetry::Trouble;

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
    trouble: Trouble,
    removals: user_info::PendingRemovals,
    conv_seqs: conv_seq::KeptSeqs,
}

impl Caches {
    pub(crate) fn new(cache: Cache, sessions: Cache, config: CacheConfig, metrics: RepoMetrics) -> Self {
        let trouble = Trouble::new(Duration::from_secs(config.failure_log_period_s));
        let removals = user_info::PendingRemovals::new(config.pending_removals_max);
        let conv_seqs = conv_seq::KeptSeqs::new(config.conv_seq_max);
        Self { cache, sessions, config, metrics, trouble, removals, conv_seqs }
    }

    /// Newest messages of a conversation that are kept.
    pub(crate) fn hot_messages_max(&self) -> usize {
        self.config.hot_messages_max
    }

    /// The answer, or None (counted and sometimes logged) when the cache failed.
    fn readable<T>(&self, kind: CacheKind, answer: Result<T, CacheError>) -> Option<T> {
        self.noted(answer, || self.metrics.cache_read(kind, Looked::Failed, 1))
    }

    /// Whether a write or removal went through; a failure is counted and sometimes logged.
    fn written<T>(&self, kind: CacheKind, answer: Result<T, CacheError>) -> bool {
        self.noted(answer, || self.metrics.cache_write_failed(kind)).is_some()
    }

    fn noted<T>(&self, answer: Result<T, CacheError>, count: impl FnOnce()) -> Option<T> {
        match answer {
            Ok(answer) => {
                if let Some(left_out) = self.trouble.over() {
                    tracing::info!(left_out, "the cache works again");
                }
                Some(answer)
            }
            Err(error) => {
                count();
                self.log_failure(&error);
                None
            }
        }
    }

    fn log_failure(&self, error: &CacheError) {
        if let Some(left_out) = self.trouble.line(Instant::now()) {
            tracing::warn!(%error, left_out, "the cache failed; going on with the database");
        }
    }
}
