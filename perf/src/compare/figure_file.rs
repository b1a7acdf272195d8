//! Files of figures: what `compare`, `versus` and `collect` write, and `table` reads. docs/figures.schema.json describes them.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::bootstrap::{median, median_bounds};
use crate::error::LoadError;
use crate::report::Better;

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct FigureFile {
    pub(super) values_of: ValuesOf,
    pub(super) figures: BTreeMap<String, Row>,
    /// What targets are made of.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) versions: BTreeMap<String, String>,
    /// Targets that could not be measured, and why.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) missing: BTreeMap<String, String>,
    /// Of the first report: its fingerprint, without the server's processes.
    pub(super) host: Value,
}

/// What each of a figure's values was measured over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum ValuesOf {
    Runs,
    Seconds,
}

impl fmt::Display for ValuesOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            ValuesOf::Runs => "runs",
            ValuesOf::Seconds => "seconds",
        })
    }
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) unit: String,
    pub(super) better: Better,
    pub(super) targets: BTreeMap<String, Cell>,
    /// Each other target against the first of a comparison.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) differences: Vec<Difference>,
}

/// A figure of one target.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Cell {
    pub(super) median: f64,
    /// The median's 95 % interval, which is the least and the greatest of five values; `null`: too few.
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
    pub(super) values: Vec<f64>,
}

#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Difference {
    pub(super) target: String,
    /// Its median minus the first one's, with the 95 % interval.
    pub(super) by: f64,
    pub(super) low: Option<f64>,
    pub(super) high: Option<f64>,
    pub(super) verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(super) enum Verdict {
    Better,
    Worse,
    /// Worse, but not by more than noise beyond what was allowed (`--worse-by`).
    Allowed,
    /// More than noise, and neither good nor bad.
    Other,
    Noise,
    /// Too few values.
    Unknown,
}

impl FigureFile {
    pub(super) fn new(values_of: ValuesOf, figures: BTreeMap<String, Row>, host: Value) -> FigureFile {
        FigureFile { values_of, figures, versions: BTreeMap::new(), missing: BTreeMap::new(), host }
    }

    /// # Errors
    /// [`LoadError::BadReport`]: no such file, or no file of figures.
    pub(super) fn read(path: &Path) -> Result<FigureFile, LoadError> {
        let bad = |why: String| LoadError::BadReport { path: path.display().to_string(), why };
        let text = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        serde_json::from_slice(&text).map_err(|error| bad(format!("not a file of figures: {error}")))
    }
}

impl Cell {
    pub(super) fn of(values: &[f64], seed: u64) -> Cell {
        let bounds = median_bounds(values, seed);
        Cell {
            median: median(values),
            low: bounds.map(|bounds| bounds.low),
            high: bounds.map(|bounds| bounds.high),
            values: values.to_vec(),
        }
    }
}

impl fmt::Display for Cell {
    /// `median [low, high]`
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&with_bounds(self.median, self.low.zip(self.high), short))
    }
}

/// `value [low, high]`; the bounds are left out where they are unknown.
pub(super) fn with_bounds(value: f64, bounds: Option<(f64, f64)>, written: impl Fn(f64) -> String) -> String {
    match bounds {
        Some((low, high)) => format!("{} [{}, {}]", written(value), written(low), written(high)),
        None => written(value),
    }
}

/// Four digits are more than any run is good for.
pub(super) fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
