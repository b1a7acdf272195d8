//! The one use of HdrHistogram: latencies in µs, from the moment when something was due.

use std::fmt;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use hdrhistogram::Histogram;
use hdrhistogram::serialization::{Deserializer as HistogramReader, Serializer as _, V2DeflateSerializer};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A distribution of µs, true to three digits.
#[derive(Debug, Clone)]
pub struct Latency(Histogram<u64>);

/// An hour; longer counts as this.
const US_MAX: u64 = 3_600_000_000;

impl Default for Latency {
    fn default() -> Self {
        // Constant arguments within the crate's limits: 1 < 2 * low <= high, at most 5 digits.
        Latency(Histogram::new_with_bounds(1, US_MAX, 3).unwrap_or_else(|_| unreachable!("constant bounds")))
    }
}

/// As [`Latency::encoded`].
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.encoded().map_err(serde::ser::Error::custom)?)
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Latency, D::Error> {
        use serde::de::Error;
        let bytes = BASE64_STANDARD.decode(String::deserialize(deserializer)?).map_err(D::Error::custom)?;
        let found = HistogramReader::new().deserialize(&mut bytes.as_slice()).map_err(D::Error::custom)?;
        let mut latency = Latency::default();
        // Into our own bounds, whatever those of the sender were.
        latency.0.add(&found).map_err(D::Error::custom)?;
        Ok(latency)
    }
}

impl Latency {
    pub(crate) fn record(&mut self, us: u64) {
        self.0.saturating_record(us);
    }

    pub(crate) fn merge(&mut self, other: &Latency) {
        // Same bounds on both sides: cannot fail.
        let _ = self.0.add(&other.0);
    }

    pub(crate) fn clear(&mut self) {
        self.0.reset();
    }

    /// Values recorded.
    #[allow(clippy::len_without_is_empty, reason = "nobody asks")]
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile);
        Percentiles { p50: at(0.5), p90: at(0.9), p99: at(0.99), p999: at(0.999), max: self.0.max() }
    }

    pub(crate) fn mean(&self) -> f64 {
        self.0.mean()
    }

    /// As HdrHistogram's log format has it: V2, deflated, base64.
    pub(crate) fn encoded(&self) -> std::io::Result<String> {
        let mut bytes = Vec::new();
        V2DeflateSerializer::new().serialize(&self.0, &mut bytes).map_err(std::io::Error::other)?;
        Ok(BASE64_STANDARD.encode(bytes))
    }

    /// Points of the cumulative distribution, closer together towards its end: (quantile from 0 to 1, µs).
    pub(crate) fn curve(&self) -> Vec<(f64, u64)> {
        let steps = self.0.iter_quantiles(STEPS_PER_HALVING);
        steps.map(|step| (step.quantile_iterated_to(), step.value_iterated_to())).collect()
    }
}

/// Of the distance to 100 %: four points up to the median, four from there to 75 %, and so on.
const STEPS_PER_HALVING: u32 = 4;

/// µs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Percentiles {
    pub p50: u64,
    pub p90: u64,
    pub p99: u64,
    pub p999: u64,
    pub max: u64,
}

impl fmt::Display for Percentiles {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |us: u64| us as f64 / 1000.0;
        write!(
            f,
            "p50 {:.2} · p90 {:.2} · p99 {:.2} · p99.9 {:.2} · max {:.2} ms",
            ms(self.p50),
            ms(self.p90),
            ms(self.p99),
            ms(self.p999),
            ms(self.max)
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_of_a_known_distribution() {
        let mut latency = Latency::default();
        (1..=1000).for_each(|us| latency.record(us));
        let found = latency.percentiles();
        assert_eq!((found.p50, found.p90, found.p99, found.max), (500, 900, 990, 1000));
        let curve = latency.curve();
        assert!(curve.windows(2).all(|pair| pair[0].0 <= pair[1].0 && pair[0].1 <= pair[1].1), "{curve:?}");
        assert_eq!(curve.last(), Some(&(1.0, 1000)));
        let json = serde_json::to_string(&latency).unwrap();
        let back: Latency = serde_json::from_str(&json).unwrap();
        assert_eq!((back.len(), back.percentiles()), (1000, found), "over the wire");
        assert!(serde_json::from_str::<Latency>("\"bm9uZQ==\"").is_err());
        latency.record(u64::MAX);
        assert!(latency.percentiles().max >= US_MAX, "longer counts as the longest");
        latency.clear();
        assert_eq!((latency.len(), latency.percentiles().max), (0, 0));
    }
}
