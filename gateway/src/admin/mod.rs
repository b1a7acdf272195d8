//! What is counted, and how it reaches /metrics.
//!
//! Shards count in plain numbers. A task asks them for copies now and then, and a scrape reads the last copies, so that
//! it never waits for a shard.

mod counters;
mod encode;
mod histogram;

use std::{
    fmt,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use gochat_core::{Engine, Mailboxes, ShardStats};
use gochat_infra::telemetry::Metrics;
use prometheus_client::{collector::Collector, encoding::DescriptorEncoder, metrics::info::Info};
use tokio::sync::oneshot;

pub(crate) use self::counters::{ByName, Counters, SideCounters};
use crate::{mail::Mail, shard::Shard};

/// How full a queue beside the shards is.
pub(crate) struct Depth {
    queue: &'static str,
    read: Box<dyn Fn() -> usize + Send + Sync>,
}

impl Depth {
    pub(crate) fn new(queue: &'static str, read: impl Fn() -> usize + Send + Sync + 'static) -> Self {
        Depth { queue, read: Box::new(read) }
    }
}

impl fmt::Debug for Depth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.queue)
    }
}

/// Read at each scrape.
#[derive(Debug)]
struct Depths(Vec<Depth>);

impl Collector for Depths {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let help = "Entries that wait in a queue, or calls under way";
        let depths = self.0.iter().map(|depth| (depth.queue, (depth.read)() as u64));
        encode::gauges(&mut encoder, "queue_depth", help, "queue", depths)
    }
}

/// The last copies of all shards' numbers.
#[derive(Debug, Default)]
struct Copies {
    counters: Vec<Counters>,
    stats: Vec<ShardStats>,
}

#[derive(Debug, Clone, Default)]
struct Shown(Arc<Mutex<Copies>>);

/// Registers everything, and returns the task that keeps it up to date.
pub(crate) fn publish(
    metrics: &Metrics,
    side: &SideCounters,
    engine: Arc<Engine<Shard>>,
    mailboxes: Mailboxes<Mail>,
    depths: Vec<Depth>,
    interval_ms: u64,
) -> impl Future<Output = ()> + Send + use<> {
    let shown = Shown::default();
    metrics.with("gateway", |registry| {
        registry.register(
            "downstream_records",
            "Records read from the downstream",
            side.downstream_records.clone(),
        );
        registry.register(
            "downstream_foreign",
            "Records for another instance",
            side.downstream_foreign.clone(),
        );
        registry.register("downstream_unreadable", "Unreadable records", side.downstream_unreadable.clone());
        let help = "Items not delivered because a shard's mailbox stayed full";
        registry.register("downstream_dropped", help, side.downstream_dropped.clone());
        registry.register(
            "downstream_lost",
            "Records lost before they were read",
            side.downstream_lost.clone(),
        );
        let help = "Times that more users of a shard missed something than are remembered";
        registry.register("downstream_marks_overflown", help, side.downstream_marks_overflown.clone());
        let help = "Requests refused because their lane was full";
        registry.register("side_refused", help, side.side_refused.clone());
        let help = "Session reports that failed";
        registry.register("session_report_failures", help, side.session_report_failures.clone());
        let help = "Failed questions for revocations";
        registry.register("revocation_load_failures", help, side.revocation_load_failures.clone());
        registry.register(
            "events_lost",
            "Events of users lost before they were read",
            side.events_lost.clone(),
        );
        registry.register("events_unreadable", "Unreadable events of users", side.events_unreadable.clone());
        registry.register("panics", "Panics caught beside the shards", side.panics.clone());
        let in_use = engine.engine_in_use();
        let labels = [("name", in_use.name().to_owned()), ("reason", in_use.reason.clone())];
        registry.register("engine", "What drives the sockets, and why", Info::new(labels.to_vec()));
        registry.register_collector(Box::new(Depths(depths)));
        registry.register_collector(Box::new(shown.clone()));
    });
    keep_up_to_date(shown, engine, mailboxes, Duration::from_millis(interval_ms))
}

async fn keep_up_to_date(
    shown: Shown,
    engine: Arc<Engine<Shard>>,
    mailboxes: Mailboxes<Mail>,
    interval: Duration,
) {
    loop {
        let asked = Arc::clone(&engine);
        let stats = tokio::task::spawn_blocking(move || asked.stats()).await.unwrap_or_default();
        let counters = sample(&mailboxes, interval).await;
        shown.renew(counters, stats, mailboxes.len());
        tokio::time::sleep(interval).await;
    }
}

async fn sample(mailboxes: &Mailboxes<Mail>, patience: Duration) -> Vec<Counters> {
    let mut counters = Vec::with_capacity(mailboxes.len());
    for shard in 0..mailboxes.len() {
        let (to, answer) = oneshot::channel();
        if mailboxes.shard(shard).post(Mail::Sample(to), 64).is_ok()
            && let Ok(Ok(sampled)) = tokio::time::timeout(patience, answer).await
        {
            counters.push(sampled);
        }
    }
    counters
}

impl Shown {
    /// When a shard was too busy to answer, the numbers of the last time stay.
    fn renew(&self, counters: Vec<Counters>, stats: Vec<ShardStats>, shards: usize) {
        let mut copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if counters.len() == shards {
            copies.counters = counters;
        }
        if stats.len() == shards {
            copies.stats = stats;
        }
    }
}

impl Collector for Shown {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let copies = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        encode::own(&mut encoder, &copies.counters)?;
        encode::engine(&mut encoder, &copies.stats)
    }
}
