//! How long things took, counted by a shard in plain numbers.

use std::fmt;

use prometheus_client::{
    encoding::{DescriptorEncoder, NoLabelSet},
    metrics::MetricType,
};

/// Upper ends in milliseconds; what took longer is in the last.
const ENDS_MS: [u64; 14] = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000, u64::MAX];

/// Times in milliseconds.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Histogram {
    counts: [u64; ENDS_MS.len()],
    sum_ms: u64,
}

impl Histogram {
    /// Notes that so many things took so long.
    pub(crate) fn note(&mut self, took_ms: u64, times: u64) {
        let at = ENDS_MS.partition_point(|end_ms| *end_ms < took_ms);
        self.counts[at] += times;
        self.sum_ms = self.sum_ms.saturating_add(took_ms.saturating_mul(times));
    }

    /// All of several shards' together.
    pub(crate) fn sum<'a>(shards: impl Iterator<Item = &'a Histogram>) -> Histogram {
        shards.fold(Histogram::default(), |mut sum, shard| {
            sum.counts.iter_mut().zip(shard.counts).for_each(|(sum, count)| *sum += count);
            sum.sum_ms = sum.sum_ms.saturating_add(shard.sum_ms);
            sum
        })
    }

    /// In seconds, as is the custom.
    pub(crate) fn encode(&self, encoder: &mut DescriptorEncoder<'_>, name: &str, help: &str) -> fmt::Result {
        let end_s = |end_ms: u64| if end_ms == u64::MAX { f64::MAX } else { end_ms as f64 / 1000.0 };
        let buckets: Vec<(f64, u64)> =
            ENDS_MS.iter().zip(self.counts).map(|(end_ms, count)| (end_s(*end_ms), count)).collect();
        let mut metric = encoder.encode_descriptor(name, help, None, MetricType::Histogram)?;
        let (sum_s, count) = (self.sum_ms as f64 / 1000.0, self.counts.iter().sum());
        metric.encode_histogram::<NoLabelSet>(sum_s, count, &buckets, None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_fall_under_the_next_end() {
        let mut times = Histogram::default();
        for (took_ms, at) in [(0, 0), (1, 0), (2, 1), (3, 2), (10_000, 12), (10_001, 13), (u64::MAX, 13)] {
            let before = times.counts[at];
            times.note(took_ms, 2);
            assert_eq!(times.counts[at], before + 2, "{took_ms}");
        }
        let both = Histogram::sum([times.clone(), times].iter());
        assert_eq!(both.counts.iter().sum::<u64>(), 28);
    }
}
