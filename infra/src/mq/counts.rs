//! What the queue counts.

use std::sync::{Arc, Weak};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

use super::log::{Log, unix_ms};
use super::partition::{Backlog, Partition};
use super::queue::{Shared, Topic};

#[derive(Debug)]
pub(super) struct Counts {
    refused: Family<[(&'static str, &'static str); 1], Counter>,
    pub(super) refused_full: Counter,
    pub(super) refused_backlog: Counter,
    pub(super) refused_storage: Counter,
    pub(super) refused_closed: Counter,
    pub(super) refused_too_large: Counter,
    /// Records that left memory before a reader of a topic in memory had them.
    pub(super) lost_records: Counter,
    pub(super) written_records: Counter,
    pub(super) written_bytes: Counter,
    pub(super) fsyncs: Counter,
    pub(super) deleted_segments: Counter,
    pub(super) commit_seconds: Histogram,
    pub(super) fsync_seconds: Histogram,
    pub(super) commits_unwritten: Counter,
}

impl Default for Counts {
    fn default() -> Self {
        let refused = Family::<[(&'static str, &'static str); 1], Counter>::default();
        let reason = |reason| refused.get_or_create_owned(&[("reason", reason)]);
        Counts {
            refused_full: reason("full"),
            refused_backlog: reason("backlog"),
            refused_storage: reason("storage"),
            refused_closed: reason("closed"),
            refused_too_large: reason("too_large"),
            lost_records: Counter::default(),
            written_records: Counter::default(),
            written_bytes: Counter::default(),
            fsyncs: Counter::default(),
            deleted_segments: Counter::default(),
            // 0.1 ms to 3 s.
            commit_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            fsync_seconds: Histogram::new(exponential_buckets(0.0001, 2.0, 16)),
            commits_unwritten: Counter::default(),
            refused,
        }
    }
}

impl Counts {
    /// Registers everything and a collector of what is looked up at each scrape.
    pub(super) fn register(&self, registry: &mut Registry, shared: &Arc<Shared>) {
        registry.register("refused", "Records not taken, by reason", self.refused.clone());
        let lost = "Records dropped from memory before a reader had them";
        registry.register("lost_records", lost, self.lost_records.clone());
        registry.register("written_records", "Records fsynced", self.written_records.clone());
        registry.register("written_bytes", "Bytes fsynced, without zeros", self.written_bytes.clone());
        registry.register("fsyncs", "Calls of fdatasync", self.fsyncs.clone());
        registry.register("deleted_segments", "Segments deleted", self.deleted_segments.clone());
        let commit = "Time to write and fsync a batch";
        registry.register("commit_seconds", commit, self.commit_seconds.clone());
        let fsync = "Time of one fdatasync";
        registry.register("fsync_seconds", fsync, self.fsync_seconds.clone());
        let unwritten =
            "Times that the groups' commits could not be written to disk; a crash would deliver again";
        registry.register("commits_unwritten", unwritten, self.commits_unwritten.clone());
        registry.register_collector(Box::new(QueueCollector(Arc::downgrade(shared))));
    }
}

/// Gauges that are cheap to look up and not worth keeping up to date.
#[derive(Debug)]
struct QueueCollector(Weak<Shared>);

impl Collector for QueueCollector {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), std::fmt::Error> {
        let Some(shared) = self.0.upgrade() else { return Ok(()) };
        let kind = ConstGauge::new(0i64).metric_type();
        let mut family = |name: &str, help: &str, values: Vec<(Vec<(&str, &str)>, i64)>| {
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            values.iter().try_for_each(|(labels, value)| one(&mut family, labels, *value))
        };
        let by_log = |value: &dyn Fn(&Log) -> i64| -> Vec<_> {
            shared.logs().iter().map(|log| (vec![("log", log.name)], value(log))).collect()
        };
        let bytes = by_log(&|log| log.bytes() as i64);
        family("log_bytes", "Bytes of a log on disk, without zeros", bytes)?;
        let segments = by_log(&|log| log.segments() as i64);
        family("log_segments", "Segment files of a log", segments)?;
        let waiting = by_log(&|log| log.waiting().0 as i64);
        family("waiting_records", "Records that wait for the disk", waiting)?;
        let waiting = by_log(&|log| log.waiting().1 as i64);
        family("waiting_bytes", "Bytes that wait for the disk", waiting)?;

        let now = unix_ms();
        let backlogs = shared.backlogs();
        let of_groups = |value: &dyn Fn(&Backlog) -> i64| -> Vec<_> {
            let labels = |group, topic| vec![("group", group), ("topic", topic)];
            backlogs
                .iter()
                .map(|(group, topic, backlog)| (labels(&**group, *topic), value(backlog)))
                .collect()
        };
        let lag = of_groups(&|backlog| backlog.records as i64);
        family("lag_records", "Records a group has not committed", lag)?;
        let age =
            of_groups(&|backlog| backlog.since_unix_ms.map_or(0, |since| now.saturating_sub(since) as i64));
        family("oldest_age_ms", "Age of the oldest record that a group has not committed", age)?;

        let of_topics = |value: &dyn Fn(&Partition) -> Option<i64>| -> Vec<_> {
            let sum =
                |topic: &Topic| topic.partitions.iter().filter_map(|one| value(one)).reduce(|a, b| a + b);
            shared
                .topics
                .iter()
                .filter_map(|topic| Some((vec![("topic", topic.name)], sum(topic)?)))
                .collect()
        };
        let lag = of_topics(&|partition| partition.tail_lag().map(|lag| lag as i64));
        family("tail_lag_records", "Records that tails have not read, the slowest of each partition", lag)?;
        let memory = of_topics(&|partition| Some(partition.in_memory().0 as i64));
        family("memory_records", "Records of a topic in memory", memory)?;
        let memory = of_topics(&|partition| Some(partition.in_memory().1 as i64));
        family("memory_bytes", "Bytes of a topic in memory", memory)?;

        let shut = "1 while a topic is refused because too much is not consumed";
        let gates = shared.gates().map(|(topic, shut)| (vec![("topic", topic)], i64::from(shut))).collect();
        family("topic_refused", shut, gates)
    }
}

fn one(family: &mut MetricEncoder, labels: &[(&str, &str)], value: i64) -> Result<(), std::fmt::Error> {
    let labels: Vec<(String, String)> =
        labels.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    ConstGauge::new(value).encode(family.encode_family(&labels)?)
}
