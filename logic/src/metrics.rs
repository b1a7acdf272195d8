//! Metrics, each made and named in one line.
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::Registry;

type Label = [(&'static str, &'static str); 1];

/// Counters that differ in the value of one label.
#[derive(Clone)]
pub(crate) struct Counts {
    label: &'static str,
    family: Family<Label, Counter>,
}

impl Counts {
    pub(crate) fn register(r: &mut Registry, name: &str, help: &str, label: &'static str) -> Self {
        let family = Family::default();
        r.register(name, help, family.clone());
        Self { label, family }
    }

    pub(crate) fn inc(&self, value: &'static str) {
        self.add(value, 1);
    }

    pub(crate) fn add(&self, value: &'static str, n: u64) {
        self.family.get_or_create(&[(self.label, value)]).inc_by(n);
    }
}

/// Histograms that differ in the value of one label; in seconds, from 0.1 ms to 6.5 s.
#[derive(Clone)]
pub(crate) struct Timings {
    label: &'static str,
    family: Family<Label, Histogram, fn() -> Histogram>,
}

impl Timings {
    pub(crate) fn register(r: &mut Registry, name: &str, help: &str, label: &'static str) -> Self {
        let family = Family::new_with_constructor(seconds as fn() -> Histogram);
        r.register(name, help, family.clone());
        Self { label, family }
    }

    pub(crate) fn observe(&self, value: &'static str, took: std::time::Duration) {
        self.family.get_or_create(&[(self.label, value)]).observe(took.as_secs_f64());
    }
}

fn seconds() -> Histogram {
    Histogram::new(exponential_buckets(0.0001, 2.0, 17))
}

pub(crate) fn counter(r: &mut Registry, name: &str, help: &str) -> Counter {
    let counter = Counter::default();
    r.register(name, help, counter.clone());
    counter
}

pub(crate) fn gauge(r: &mut Registry, name: &str, help: &str) -> Gauge {
    let gauge = Gauge::default();
    r.register(name, help, gauge.clone());
    gauge
}

/// Sizes from 1 to 4,096, each bucket twice the one before.
pub(crate) fn sizes(r: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(1.0, 2.0, 13));
    r.register(name, help, histogram.clone());
    histogram
}

/// In seconds, from 1 ms to 65 s, each bucket twice the one before.
pub(crate) fn latency(r: &mut Registry, name: &str, help: &str) -> Histogram {
    let histogram = Histogram::new(exponential_buckets(0.001, 2.0, 17));
    r.register(name, help, histogram.clone());
    histogram
}
