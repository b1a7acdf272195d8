//! What a cache holds, by kind of key, for /metrics.
use std::collections::BTreeMap;
use std::fmt::Error as FmtError;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::MemoryCache;

/// Kinds that are told apart; keys of further ones are `other`, as are those without a colon, whichever come first.
const KINDS_MAX: usize = 32;

/// Keys and bytes of each kind.
#[derive(Debug, Default)]
pub(super) struct Kinds(BTreeMap<String, (i64, i64)>);

impl Kinds {
    pub(super) fn add(&mut self, key: &str, bytes: usize) {
        let kind = key.split_once(':').map_or("other", |(kind, _)| kind);
        let named = self.0.len() - usize::from(self.0.contains_key("other"));
        let full = named >= KINDS_MAX && !self.0.contains_key(kind);
        let kind = if full { "other" } else { kind };
        if !self.0.contains_key(kind) {
            self.0.insert(kind.to_owned(), (0, 0));
        }
        if let Some((keys, held)) = self.0.get_mut(kind) {
            *keys += 1;
            *held += bytes as i64;
        }
    }
}

/// Looks at every key at each scrape, which costs nothing in between.
#[derive(Debug)]
pub(super) struct Held(pub(super) MemoryCache);

impl Collector for Held {
    fn encode(&self, mut encoder: DescriptorEncoder) -> Result<(), FmtError> {
        let kinds = self.0.held();
        let mut gauge = |name: &str, help: &str, of: fn(&(i64, i64)) -> i64| -> Result<(), FmtError> {
            let mut family = encoder.encode_descriptor(name, help, None, MetricType::Gauge)?;
            for (kind, held) in &kinds.0 {
                let labels = [("kind", kind.as_str())];
                ConstGauge::new(of(held)).encode(family.encode_family(&labels)?)?;
            }
            Ok(())
        };
        gauge("entries", "Keys held, those that expired and were not met since among them", |held| held.0)?;
        gauge("bytes", "Bytes of these keys and their values, with overhead", |held| held.1)
    }
}
