//! What the repository counts. Clones share the counters.
use std::time::Duration;

use gochat_infra::telemetry::Metrics;
use gochat_proto::repo::v1::SaveOutcome;
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};

/// Why a write was refused before it was tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Refused {
    /// `write_queue_jobs` writes wait.
    QueueJobs,
    /// `write_queue_bytes` wait.
    QueueBytes,
}

/// The kinds of keys in the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum CacheKind {
    UserInfo,
    UserSession,
    HotMessages,
    ConvSeq,
    GroupMembers,
}

/// What a look into the cache brought.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, EncodeLabelValue)]
pub(crate) enum Looked {
    Hit,
    Miss,
    Failed,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RefusedLabels {
    reason: Refused,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OutcomeLabels {
    outcome: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CacheLabels {
    kind: CacheKind,
    result: Looked,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    kind: CacheKind,
}

/// Waits in seconds, from 0.1 ms to 6.5 s, each bucket twice the one before.
#[derive(Debug, Clone)]
struct Waits(Histogram);

impl Default for Waits {
    fn default() -> Self {
        Self(Histogram::new(exponential_buckets(0.0001, 2.0, 17)))
    }
}

#[derive(Debug, Clone, Default)]
pub(crate) struct RepoMetrics {
    write_queue_jobs: Gauge,
    write_queue_bytes: Gauge,
    write_waits: Waits,
    reader_waits: Waits,
    reads_refused: Counter,
    writes_refused: Family<RefusedLabels, Counter>,
    transactions: Counter,
    transactions_failed: Counter,
    writes: Counter,
    batches: Family<OutcomeLabels, Counter>,
    messages_saved: Counter,
    cache_reads: Family<CacheLabels, Counter>,
    cache_write_failures: Family<KindLabels, Counter>,
    unreadable: Family<KindLabels, Counter>,
    distrusted: Counter,
}

impl RepoMetrics {
    pub(crate) fn register(metrics: &Metrics) -> Self {
        let new = Self::default();
        metrics.with("repo", |r| {
            let jobs = new.write_queue_jobs.clone();
            r.register("write_queue_jobs", "Writes that wait for the writer or are under way", jobs);
            let bytes = new.write_queue_bytes.clone();
            r.register("write_queue_bytes", "Bytes of those writes", bytes);
            let waits = new.write_waits.0.clone();
            r.register("write_wait_seconds", "From a write's admission until the writer takes it", waits);
            let waits = new.reader_waits.0.clone();
            r.register("reader_wait_seconds", "Time until a read had a connection, or was refused", waits);
            let refused = new.reads_refused.clone();
            r.register("reads_refused", "Reads refused because no connection came free", refused);
            r.register("writes_refused", "Writes refused by a full queue", new.writes_refused.clone());
            r.register("transactions", "Committed write transactions", new.transactions.clone());
            let failed = new.transactions_failed.clone();
            r.register("transactions_failed", "Write transactions rolled back", failed);
            r.register("writes", "Writes in committed transactions", new.writes.clone());
            r.register("batches", "Conversation batches judged by SaveMessages", new.batches.clone());
            r.register("messages_saved", "Messages stored", new.messages_saved.clone());
            r.register("cache_reads", "Looks into the cache", new.cache_reads.clone());
            let failures = new.cache_write_failures.clone();
            r.register("cache_write_failures", "Writes and removals that the cache refused", failures);
            let distrusted = new.distrusted.clone();
            let help =
                "Failed removals that were one too many to remember, so that no copy of a user is believed";
            r.register("cache_removals_forgotten", help, distrusted);
            r.register("cache_unreadable", "Cached values that could not be read", new.unreadable.clone());
        });
        new
    }

    pub(crate) fn write_admitted(&self, bytes: usize) {
        self.write_queue_jobs.inc();
        self.write_queue_bytes.inc_by(bytes as i64);
    }

    /// It is answered, or was never taken after all.
    pub(crate) fn write_left(&self, bytes: usize) {
        self.write_queue_jobs.dec();
        self.write_queue_bytes.dec_by(bytes as i64);
    }

    pub(crate) fn write_waited(&self, time: Duration) {
        self.write_waits.0.observe(time.as_secs_f64());
    }

    pub(crate) fn reader_waited(&self, time: Duration) {
        self.reader_waits.0.observe(time.as_secs_f64());
    }

    pub(crate) fn read_refused(&self) {
        self.reads_refused.inc();
    }

    pub(crate) fn write_refused(&self, reason: Refused) {
        self.writes_refused.get_or_create(&RefusedLabels { reason }).inc();
    }

    pub(crate) fn committed(&self, writes: usize) {
        self.transactions.inc();
        self.writes.inc_by(writes as u64);
    }

    pub(crate) fn write_failed(&self) {
        self.transactions_failed.inc();
    }

    pub(crate) fn judged(&self, outcome: SaveOutcome, messages: usize) {
        self.batches.get_or_create(&OutcomeLabels { outcome: outcome.as_str_name() }).inc();
        if outcome == SaveOutcome::Saved {
            self.messages_saved.inc_by(messages as u64);
        }
    }

    pub(crate) fn cache_read(&self, kind: CacheKind, result: Looked, count: usize) {
        self.cache_reads.get_or_create(&CacheLabels { kind, result }).inc_by(count as u64);
    }

    pub(crate) fn cache_write_failed(&self, kind: CacheKind) {
        self.cache_write_failures.get_or_create(&KindLabels { kind }).inc();
    }

    pub(crate) fn cache_distrusted(&self) {
        self.distrusted.inc();
    }

    pub(crate) fn cache_unreadable(&self, kind: CacheKind) {
        self.unreadable.get_or_create(&KindLabels { kind }).inc();
    }
}

#[cfg(test)]
impl RepoMetrics {
    pub(crate) fn cache_reads_of(&self, kind: CacheKind, result: Looked) -> u64 {
        self.cache_reads.get_or_create(&CacheLabels { kind, result }).get()
    }

    pub(crate) fn cache_write_failures_of(&self, kind: CacheKind) -> u64 {
        self.cache_write_failures.get_or_create(&KindLabels { kind }).get()
    }

    pub(crate) fn writes_refused_of(&self, reason: Refused) -> u64 {
        self.writes_refused.get_or_create(&RefusedLabels { reason }).get()
    }

    /// Jobs and bytes.
    pub(crate) fn write_queue(&self) -> (i64, i64) {
        (self.write_queue_jobs.get(), self.write_queue_bytes.get())
    }

    pub(crate) fn reads_refused_now(&self) -> u64 {
        self.reads_refused.get()
    }

    pub(crate) fn cache_distrusted_now(&self) -> u64 {
        self.distrusted.get()
    }

    pub(crate) fn transactions_now(&self) -> u64 {
        self.transactions.get()
    }
}
