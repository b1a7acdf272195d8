//! One side of a comparison: its reports, and each figure's values.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::Value;

use super::bootstrap::{VALUES_MIN, median};
use crate::error::LoadError;
use crate::report::{Better, EarlierReport};

#[derive(Debug)]
pub(super) struct Side {
    pub(super) name: String,
    pub(super) reports: Vec<EarlierReport>,
    path: PathBuf,
}

/// A figure's values on one side.
#[derive(Debug, Clone)]
pub(super) struct Values {
    pub(super) unit: String,
    pub(super) better: Better,
    pub(super) values: Vec<f64>,
}

/// The seconds of one run are put together to this many values: neighbouring seconds are not independent.
const BATCHES: usize = 10;

impl Side {
    pub(super) fn new(name: &str, path: &Path, reports: Vec<EarlierReport>) -> Side {
        Side { name: name.to_owned(), reports, path: path.to_owned() }
    }

    /// A report, or a folder whose `*.json` are reports.
    pub(super) fn read(name: &str, path: &Path) -> Result<Side, LoadError> {
        let bad = |why: String| LoadError::BadReport { path: path.display().to_string(), why };
        if !path.is_dir() {
            return Ok(Side::new(name, path, vec![EarlierReport::read(path)?]));
        }
        let entries = std::fs::read_dir(path).map_err(|error| bad(error.to_string()))?.flatten();
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.path()).collect();
        files.retain(|file| file.extension().is_some_and(|ending| ending == "json"));
        files.sort();
        if files.is_empty() {
            return Err(bad("the folder has no *.json".to_owned()));
        }
        let reports = files.iter().map(|file| EarlierReport::read(file)).collect::<Result<_, _>>()?;
        Ok(Side::new(name, path, reports))
    }

    /// Each figure with a value for each report.
    pub(super) fn by_run(&self) -> BTreeMap<String, Values> {
        let mut all: BTreeMap<String, Values> = BTreeMap::new();
        for report in &self.reports {
            for (name, figure) in report.figures.iter() {
                let fresh =
                    || Values { unit: figure.unit.clone(), better: figure.better, values: Vec::new() };
                all.entry(name.to_owned()).or_insert_with(fresh).values.push(figure.value);
            }
        }
        all
    }

    /// What a single report tells second by second; empty where there are several reports or too few seconds.
    pub(super) fn by_second(&self) -> BTreeMap<String, Values> {
        let [report] = self.reports.as_slice() else { return BTreeMap::new() };
        let latency = |of: fn(&crate::latency::Percentiles) -> u64| {
            let values = report.intervals.iter().filter_map(|second| second.latency_us.as_ref().map(of));
            values.map(|us| us as f64).collect::<Vec<_>>()
        };
        // A last piece of a second has a rate of its own making.
        let whole = report.intervals.iter().filter(|second| second.seconds > 0.5);
        let series = [
            (
                "rate",
                "1/s",
                Better::Higher,
                whole.map(|second| second.done as f64 / second.seconds).collect(),
            ),
            ("p50", "us", Better::Lower, latency(|us| us.p50)),
            ("p90", "us", Better::Lower, latency(|us| us.p90)),
            ("p99", "us", Better::Lower, latency(|us| us.p99)),
        ];
        let series = series.into_iter().filter(|(.., values)| values.len() >= VALUES_MIN);
        series
            .map(|(name, unit, better, values)| {
                (name.to_owned(), Values { unit: unit.to_owned(), better, values: batched(&values) })
            })
            .collect()
    }
}

/// Neighbours put together to at most [`BATCHES`] medians.
fn batched(values: &[f64]) -> Vec<f64> {
    values.chunks(values.len().div_ceil(BATCHES).max(1)).map(median).collect()
}

/// # Errors
/// [`LoadError::BadReport`].
pub(super) fn check_same_scenario(sides: &[Side]) -> Result<(), LoadError> {
    let mut all = sides.iter().flat_map(|side| side.reports.iter().map(move |report| (side, report)));
    let Some((_, first)) = all.next() else { return Ok(()) };
    match all.find(|(_, report)| report.scenario != first.scenario) {
        None => Ok(()),
        Some((side, other)) => Err(LoadError::BadReport {
            path: side.path.display().to_string(),
            why: format!("it is of {}, and the first one of {}", other.scenario, first.scenario),
        }),
    }
}

/// Parameters that name files or places, and so may well differ.
const OF_THE_PLACE: [&str; 9] = ["url", "admin", "pid", "json", "csv", "hlog", "html", "users_file", "seed"];

/// Parts of a fingerprint that are the machine's and this tool's.
pub(super) const OF_THE_MACHINE: [&str; 4] = ["kernel", "cpu", "cores", "tool_version"];

/// What else than the server differs, in words.
pub(super) fn differing_circumstances(sides: &[Side]) -> Vec<String> {
    let mut found = Vec::new();
    let Some(first) = sides.first().and_then(|side| side.reports.first()) else { return found };
    let reports = || sides.iter().flat_map(|side| side.reports.iter().map(move |report| (side, report)));
    let mut note = |side: &Side, what: &str, a: &Value, b: &Value| {
        let line = format!("{what} is {a}, and {b} in {}", side.name);
        if a != b && !found.contains(&line) {
            found.push(line);
        }
    };
    for (side, report) in reports() {
        for part in OF_THE_MACHINE {
            note(side, part, &first.fingerprint[part], &report.fingerprint[part]);
        }
        for (name, value) in report.parameters.as_object().into_iter().flatten() {
            if !OF_THE_PLACE.contains(&name.as_str()) {
                note(side, name, &first.parameters[name], value);
            }
        }
        if report.exit == 1 {
            note(side, "a promise", &"kept".into(), &"broken".into());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_put_together() {
        assert_eq!(batched(&[1.0, 2.0, 3.0, 4.0]), [1.0, 2.0, 3.0, 4.0]);
        let long: Vec<f64> = (0..100).map(f64::from).collect();
        assert_eq!(batched(&long).len(), BATCHES);
        assert_eq!(batched(&long)[0], 4.5);
    }
}
