//! A comparison's figures, for people and for machines.

use std::collections::BTreeMap;

use serde::Serialize;

use super::bootstrap::{difference_bounds, median};
use super::figure_file::{Cell, Difference, FigureFile, Row, ValuesOf, Verdict, short};
use super::side::{Side, Values};
use crate::report::{Better, EarlierReport};

/// A comparison: a file of figures with what is said of their differences.
#[derive(Debug, Serialize)]
#[serde(transparent)]
pub(super) struct Table(FigureFile);

impl Table {
    /// Compares run by run where each side has runs enough, else second by second. `only`: empty for all figures. `allowed_percent`: how much
    /// worse a figure may be before it is called worse.
    pub(super) fn of(sides: &[Side], only: &[String], seed: u64, allowed_percent: f64) -> Table {
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
                figures.insert(name.clone(), Row::of(first, others, seed, allowed_percent));
            }
        }
        let first = sides.first().and_then(|side| side.reports.first());
        let host = first.map(EarlierReport::host).unwrap_or_default();
        let values_of = if single { ValuesOf::Seconds } else { ValuesOf::Runs };
        Table(FigureFile::new(values_of, figures, host))
    }

    pub(super) fn is_anything_worse(&self) -> bool {
        self.0.figures.values().flat_map(|row| &row.differences).any(|found| found.verdict == Verdict::Worse)
    }

    /// Whether each of so many sides has values enough of a figure for a verdict.
    pub(super) fn tells(&self, figure: &str, sides: usize) -> bool {
        self.0.figures.get(figure).is_some_and(|row| {
            row.targets.len() == sides
                && row.differences.iter().all(|found| found.verdict != Verdict::Unknown)
        })
    }

    pub(super) fn print(&self) {
        println!("medians over {}; 95 % intervals of the difference in brackets", self.0.values_of);
        for (name, row) in &self.0.figures {
            let cells = row.targets.iter().map(|(target, cell)| format!("{target} {}", short(cell.median)));
            println!("{name} [{}]: {}", row.unit, cells.collect::<Vec<_>>().join(" · "));
            for difference in &row.differences {
                println!("    {}", difference.in_words(row));
            }
        }
    }
}

impl Row {
    fn of(first: &(&str, &Values), others: &[(&str, &Values)], seed: u64, allowed_percent: f64) -> Row {
        let all = std::iter::once(first).chain(others);
        Row {
            unit: first.1.unit.clone(),
            better: first.1.better,
            targets: all
                .map(|(target, values)| ((*target).to_owned(), Cell::of(&values.values, seed)))
                .collect(),
            differences: others
                .iter()
                .map(|(target, values)| {
                    Difference::of(target, &first.1.values, values, seed, allowed_percent)
                })
                .collect(),
        }
    }
}

impl Difference {
    fn of(target: &str, first: &[f64], other: &Values, seed: u64, allowed_percent: f64) -> Difference {
        let by = median(&other.values) - median(first);
        let bounds = difference_bounds(first, &other.values, seed);
        let verdict = match bounds {
            None => Verdict::Unknown,
            Some(bounds) if !bounds.exclude_zero() => Verdict::Noise,
            Some(_) => match other.better {
                Better::Neither => Verdict::Other,
                Better::Higher if by > 0.0 => Verdict::Better,
                Better::Lower if by < 0.0 => Verdict::Better,
                _ if exceeds(first, other, seed, allowed_percent) => Verdict::Worse,
                _ => Verdict::Allowed,
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
            Verdict::Allowed => "worse, and perhaps by no more than is allowed",
            Verdict::Other => "differs",
            Verdict::Noise => "no more than noise",
            Verdict::Unknown => "too few values to tell",
        };
        format!("{}: {} {interval} {verdict}", self.target, part(self.by))
    }
}

/// Whether it would be worse by more than noise still if all of the first one's values were so much worse: the first one's noise
/// grows with them.
fn exceeds(first: &[f64], other: &Values, seed: u64, allowed_percent: f64) -> bool {
    let way = if other.better == Better::Higher { -1.0 } else { 1.0 };
    let moved: Vec<f64> =
        first.iter().map(|value| value + way * value.abs() * allowed_percent / 100.0).collect();
    difference_bounds(&moved, &other.values, seed).is_some_and(|bounds| {
        if other.better == Better::Higher { bounds.high < 0.0 } else { bounds.low > 0.0 }
    })
}
