//! Named numbers with their units: what is compared, asserted and plotted.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;

/// Which way is an improvement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Better {
    Higher,
    Lower,
    /// A circumstance.
    Neither,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    /// `us`, `s`, `bytes`, `1/s`, or empty for a count.
    pub(crate) unit: String,
    pub(crate) better: Better,
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.value, self.unit)
    }
}

/// A run's figures by name.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(transparent)]
pub(crate) struct Figures(BTreeMap<String, Figure>);

impl Figures {
    /// Leaves out what is unknown.
    pub(crate) fn add(&mut self, name: &str, value: impl Into<Option<f64>>, unit: &str, better: Better) {
        if let Some(value) = value.into().filter(|value| value.is_finite()) {
            self.0.insert(name.to_owned(), Figure { value, unit: unit.to_owned(), better });
        }
    }

    /// `{prefix}p50` … `{prefix}max`.
    pub(crate) fn add_latency(&mut self, prefix: &str, latency: &Latency) {
        if latency.len() == 0 {
            return;
        }
        let found = latency.percentiles();
        let points = [
            ("p50", found.p50),
            ("p90", found.p90),
            ("p99", found.p99),
            ("p999", found.p999),
            ("max", found.max),
        ];
        for (name, us) in points {
            self.add(&format!("{prefix}{name}"), us as f64, "us", Better::Lower);
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&Figure> {
        self.0.get(name)
    }

    /// Those of these names.
    pub(crate) fn only(&self, names: &[&str]) -> Figures {
        let named = names.iter().filter_map(|name| Some(((*name).to_owned(), self.get(name)?.clone())));
        Figures(named.collect())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (&str, &Figure)> {
        self.0.iter().map(|(name, figure)| (name.as_str(), figure))
    }
}
