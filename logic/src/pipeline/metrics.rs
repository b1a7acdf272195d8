//! What the pipeline counts. Stages are timed once a batch, never once a message.
use std::collections::BTreeMap;
use std::time::Duration;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Stage {
    stage: &'static str,
}

/// Counters of the pipeline; clones share them.
#[derive(Clone)]
pub(crate) struct PipelineMetrics {
    records: Family<Outcome, Counter>,
    retries: Family<Reason, Counter>,
    stages: Family<Stage, Histogram, fn() -> Histogram>,
    pub batch_records: Histogram,
    pub save_messages: Histogram,
    pub conversations: Gauge,
    pub parked_partitions: Gauge,
    pub lag: Gauge,
}

impl PipelineMetrics {
    /// Names them in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let seconds: fn() -> Histogram = || Histogram::new(exponential_buckets(0.0001, 2.0, 17));
        let sizes = || Histogram::new(exponential_buckets(1.0, 2.0, 13));
        let all = Self {
            records: Family::default(),
            retries: Family::default(),
            stages: Family::new_with_constructor(seconds),
            batch_records: sizes(),
            save_messages: sizes(),
            conversations: Gauge::default(),
            parked_partitions: Gauge::default(),
            lag: Gauge::default(),
        };
        let r = registry;
        r.register("pipeline_records", "Records by what became of them", all.records.clone());
        r.register("pipeline_retries", "Records left for another attempt, by reason", all.retries.clone());
        r.register("pipeline_stage_seconds", "Time of a stage, once a batch", all.stages.clone());
        r.register("pipeline_batch_records", "Records in a batch", all.batch_records.clone());
        r.register("pipeline_save_messages", "Messages in a save", all.save_messages.clone());
        r.register(
            "pipeline_conversations",
            "Conversations whose last seq is kept",
            all.conversations.clone(),
        );
        r.register(
            "pipeline_parked_partitions",
            "Partitions waiting for a retry",
            all.parked_partitions.clone(),
        );
        r.register("pipeline_lag_records", "Records in the queue that are not committed", all.lag.clone());
        all
    }

    pub(crate) fn count(
        &self,
        outcomes: &BTreeMap<&'static str, u64>,
        retries: &BTreeMap<&'static str, u64>,
    ) {
        for (outcome, n) in outcomes {
            self.records.get_or_create(&Outcome { outcome }).inc_by(*n);
        }
        for (reason, n) in retries {
            self.retries.get_or_create(&Reason { reason }).inc_by(*n);
        }
    }

    pub(crate) fn stage(&self, stage: &'static str, took: Duration) {
        self.stages.get_or_create(&Stage { stage }).observe(took.as_secs_f64());
    }
}
