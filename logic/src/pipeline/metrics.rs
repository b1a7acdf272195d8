//! What the pipeline counts. Stages are timed once a batch, never once a message.
use std::collections::BTreeMap;

use gochat_proto::queue::v1::UpstreamMessage;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;

use crate::metrics::{Counts, Timings, gauge, latency, sizes};

/// Counters of the pipeline; clones share them.
#[derive(Clone)]
pub(crate) struct PipelineMetrics {
    records: Counts,
    retries: Counts,
    pub stages: Timings,
    pub batch_records: Histogram,
    pub save_messages: Histogram,
    pub conversations: Gauge,
    pub parked_partitions: Gauge,
    pub lag: Gauge,
    pub oldest_ms: Gauge,
    pub undistributed_rounds: Gauge,
    stored_latency: Histogram,
}

impl PipelineMetrics {
    /// Names them in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let r = registry;
        Self {
            records: Counts::register(r, "pipeline_records", "Records by what became of them", "outcome"),
            retries: Counts::register(
                r,
                "pipeline_retries",
                "Records left for another attempt, by reason",
                "reason",
            ),
            stages: Timings::register(r, "pipeline_stage_seconds", "Time of a stage, once a batch", "stage"),
            batch_records: sizes(r, "pipeline_batch_records", "Records in a batch"),
            save_messages: sizes(r, "pipeline_save_messages", "Messages in a save"),
            conversations: gauge(r, "pipeline_conversations", "Conversations whose last seq is kept"),
            parked_partitions: gauge(r, "pipeline_parked_partitions", "Partitions waiting for a retry"),
            lag: gauge(r, "pipeline_lag_records", "Records in the queue that are not committed"),
            oldest_ms: gauge(
                r,
                "pipeline_oldest_ms",
                "How long ago the gateway took the oldest message of the batch at hand; 0 when there is none",
            ),
            undistributed_rounds: gauge(
                r,
                "pipeline_undistributed_rounds",
                "Saved rounds that wait for their distribution",
            ),
            stored_latency: latency(
                r,
                "pipeline_stored_latency_seconds",
                "From the gateway's taking a message to its commit",
            ),
        }
    }

    /// A message was committed.
    pub(crate) fn stored(&self, message: &UpstreamMessage, now_ms: i64) {
        self.stored_latency.observe((now_ms - message.received_at_ms).max(0) as f64 / 1000.0);
    }

    pub(crate) fn count(
        &self,
        outcomes: &BTreeMap<&'static str, u64>,
        retries: &BTreeMap<&'static str, u64>,
    ) {
        outcomes.iter().for_each(|(outcome, n)| self.records.add(outcome, *n));
        retries.iter().for_each(|(reason, n)| self.retries.add(reason, *n));
    }
}
