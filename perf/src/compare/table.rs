//! A comparison's figures, for people and for machines.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::bootstrap::{difference_bounds, median, median_bounds};
use super::side::{Side, Values};
use crate::report::Better;

/// A comparison's JSON file.
#[derive(Debug, Serialize)]
pub(super) struct Table {
    /// What the values are: `runs` or `seconds`.
    values_of: &'static str,
    figures: BTreeMap<String, Row>,
    /// The first report's fingerprint.
    host: Value,
}

#[derive(Debug, Serialize)]
struct Row {
    unit: String,
    better: Better,
    targets: BTreeMap<String, Cell>,
    /// Each other target against the first.
    differences: Vec<Difference>,
}

/// A figure of one target.
#[derive(Debug, Serialize)]
struct Cell {
    median: f64,
    /// The median's 95 % interval; `null`: too few values.
    low: Option<f64>,
    high: Option<f64>,
    values: Vec<f64>,
}

#[derive(Debug, Serialize)]
struct Difference {
    target: String,
    /// Its median minus the first one's, with the 95 % interval.
    by: f64,
    low: Option<f64>,
    high: Option<f64>,
    verdict: Verdict,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Verdict {
    Better,
    Worse,
    /// More than noise, and neither good nor bad.
    Other,
    Noise,
    /// Too few values.
    Unknown,
}

impl Table {
    /// Compares run by run where each side has runs enough, else second by second. `only`: empty for all figures.
    pub(super) fn of(sides: &[Side], only: &[String], seed: u64) -> Table {
        let single = sides.iter().all(|side| side.reports.len() == 1);
        let values: Vec<(&str, BTreeMap<String, Values>)> = sides
            .iter()
            .map(|side| (side.name.as_str(), if single { side.by_second() } else { side.by_run() }))
            .collect();
        let mut figures = BTreeMap::new();
        let names = values.first().into_iter().flat_map(|(_, first)| first.keys());
        for name in names.filter(|name| only.is_empty() || only.contains(name)) {
            let sides: Vec<(&str, &Values)> =
                values.iter().filter_map(|(side, values)| Some((*side, values.get(name)?))).collect();
            if let [first, others @ ..] = sides.as_slice()
                && !others.is_empty()
            {
                figures.insert(name.clone(), Row::of(first, others, seed));
            }
        }
        let host = sides.first().and_then(|side| side.reports.first());
        Table {
            values_of: if single { "seconds" } else { "runs" },
            figures,
            host: host.map(|report| report.fingerprint.clone()).unwrap_or_default(),
        }
    }

    pub(super) fn is_anything_worse(&self) -> bool {
        self.figures.values().flat_map(|row| &row.differences).any(|found| found.verdict == Verdict::Worse)
    }

    pub(super) fn print(&self) {
        println!("medians over {}; 95 % intervals of the difference in brackets", self.values_of);
        for (name, row) in &self.figures {
            let cells = row.targets.iter().map(|(target, cell)| format!("{target} {}", short(cell.median)));
            println!("{name} [{}]: {}", row.unit, cells.collect::<Vec<_>>().join(" · "));
            for difference in &row.differences {
                println!("    {}", difference.in_words(row));
            }
        }
    }
}

impl Row {
    fn of(first: &(&str, &Values), others: &[(&str, &Values)], seed: u64) -> Row {
        let all = std::iter::once(first).chain(others);
        Row {
            unit: first.1.unit.clone(),
            better: first.1.better,
            targets: all
                .map(|(target, values)| ((*target).to_owned(), Cell::of(&values.values, seed)))
                .collect(),
            differences: others
                .iter()
                .map(|(target, values)| Difference::of(target, &first.1.values, values, seed))
                .collect(),
        }
    }
}

impl Cell {
    fn of(values: &[f64], seed: u64) -> Cell {
        let bounds = median_bounds(values, seed);
        Cell {
            median: median(values),
            low: bounds.map(|bounds| bounds.low),
            high: bounds.map(|bounds| bounds.high),
            values: values.to_vec(),
        }
    }
}

impl Difference {
    fn of(target: &str, first: &[f64], other: &Values, seed: u64) -> Difference {
        let by = median(&other.values) - median(first);
        let bounds = difference_bounds(first, &other.values, seed);
        let verdict = match bounds {
            None => Verdict::Unknown,
            Some(bounds) if !bounds.exclude_zero() => Verdict::Noise,
            Some(_) => match other.better {
                Better::Neither => Verdict::Other,
                Better::Higher if by > 0.0 => Verdict::Better,
                Better::Lower if by < 0.0 => Verdict::Better,
                _ => Verdict::Worse,
            },
        };
        let (low, high) = (bounds.map(|bounds| bounds.low), bounds.map(|bounds| bounds.high));
        Difference { target: target.to_owned(), by, low, high, verdict }
    }

    fn in_words(&self, row: &Row) -> String {
        // The first target's median is what the difference counts from.
        let base = row.targets.get(&self.target).map_or(f64::NAN, |cell| cell.median) - self.by;
        let part = |value: f64| {
            if base.abs() > f64::EPSILON {
                format!("{:+.1} %", value / base.abs() * 100.0)
            } else {
                format!("{value:+}")
            }
        };
        let interval = self
            .low
            .zip(self.high)
            .map_or("[?]".to_owned(), |(low, high)| format!("[{}, {}]", part(low), part(high)));
        let verdict = match self.verdict {
            Verdict::Better => "better",
            Verdict::Worse => "WORSE",
            Verdict::Other => "differs",
            Verdict::Noise => "no more than noise",
            Verdict::Unknown => "too few values to tell",
        };
        format!("{}: {} {interval} {verdict}", self.target, part(self.by))
    }
}

/// Four digits are more than any run is good for.
fn short(value: f64) -> String {
    match value.abs() {
        large if large >= 1000.0 => format!("{value:.0}"),
        small if small >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.3}"),
    }
}
