//! What became of tasks.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Task type and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Labels {
    pub kind: &'static str,
    pub outcome: &'static str,
}

/// Task type and why it can never be done.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Buried {
    pub kind: &'static str,
    pub reason: &'static str,
}

/// A bound that was reached.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct Full {
    pub bound: &'static str,
}

/// Counters of the service; clones share them.
#[derive(Clone, Default)]
pub(crate) struct TaskMetrics {
    pub tasks: Family<Labels, Counter>,
    pub dead_letters: Family<Buried, Counter>,
    pub schedule_refused: Counter,
    pub replayed: Counter,
    pub full: Family<Full, Counter>,
    pub held_tasks: Gauge,
    pub held_bytes: Gauge,
    pub lanes: Gauge,
    pub ahead_tasks: Gauge,
    pub waiting_tasks: Gauge,
    pub paused_partitions: Gauge,
    pub lag: Gauge,
}

impl TaskMetrics {
    /// Names them in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register("tasks", "Attempts at tasks, by type and outcome", all.tasks.clone());
        registry.register(
            "dead_letters",
            "Tasks that can never be done, by type and reason",
            all.dead_letters.clone(),
        );
        registry.register(
            "schedule_refused",
            "Regular tasks that the queue did not take; the next interval makes up for them",
            all.schedule_refused.clone(),
        );
        let replayed = "Dead letters put back on their topic";
        registry.register("dead_letters_replayed", replayed, all.replayed.clone());
        registry.register("held", "Tasks taken and not done", all.held_tasks.clone());
        registry.register("held_bytes", "Bytes of tasks taken and not done", all.held_bytes.clone());
        registry.register("lanes", "Keys with tasks that are not done", all.lanes.clone());
        let ahead = "Tasks done behind one of their partition that is not";
        registry.register("ahead", ahead, all.ahead_tasks.clone());
        let full = "Times that no more tasks were taken because of a bound";
        registry.register("full", full, all.full.clone());
        let waiting = "Tasks that wait after a failure";
        registry.register("waiting", waiting, all.waiting_tasks.clone());
        registry.register(
            "paused_partitions",
            "Partitions where too many tasks are done behind one that is not",
            all.paused_partitions.clone(),
        );
        registry.register("lag_records", "Tasks in the queue that are not done", all.lag.clone());
        all
    }

    pub(crate) fn count(&self, kind: &'static str, outcome: &'static str) {
        self.tasks.get_or_create(&Labels { kind, outcome }).inc();
    }

    pub(crate) fn count_dead_letter(&self, kind: &'static str, reason: &'static str) {
        self.dead_letters.get_or_create(&Buried { kind, reason }).inc();
    }

    pub(crate) fn count_full(&self, bound: &'static str) {
        self.full.get_or_create(&Full { bound }).inc();
    }
}
