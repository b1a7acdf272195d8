//! Reports that were written earlier.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;
use serde_json::Value;

use super::{FORMAT, Figures, Interval};
use crate::compare::median;
use crate::error::LoadError;
use crate::exit::Exit;

/// What later commands need of a report.
#[derive(Debug, Deserialize)]
pub(crate) struct EarlierReport {
    format: u32,
    pub(crate) scenario: String,
    pub(crate) exit: u8,
    pub(crate) parameters: Value,
    pub(crate) fingerprint: Value,
    pub(crate) figures: Figures,
    pub(crate) intervals: Vec<Interval>,
    verdict: EarlierVerdict,
}

#[derive(Debug, Deserialize)]
struct EarlierVerdict {
    broken: Vec<String>,
}

impl EarlierReport {
    /// # Errors
    /// [`LoadError::BadReport`]: no such file, or no report of this program.
    pub(crate) fn read(path: &Path) -> Result<EarlierReport, LoadError> {
        let bad = |why: String| LoadError::BadReport { path: path.display().to_string(), why };
        let text = std::fs::read(path).map_err(|error| bad(error.to_string()))?;
        let report: EarlierReport = serde_json::from_slice(&text).map_err(|error| bad(error.to_string()))?;
        if report.format != FORMAT {
            return Err(bad(format!("it has format {}, and this program reads {FORMAT}", report.format)));
        }
        Ok(report)
    }

    /// The fingerprint without the server's processes: on what it was measured, whatever was measured.
    pub(crate) fn host(&self) -> Value {
        let mut host = self.fingerprint.clone();
        if let Some(parts) = host.as_object_mut() {
            parts.remove("server");
        }
        host
    }

    /// What broke a promise, in words.
    pub(crate) fn broken(self) -> Vec<String> {
        self.verdict.broken
    }
}

#[derive(Debug, Args)]
pub(crate) struct Median {
    /// As the reports name it: rate, ack.p99, server_cpu_us_per_op, …
    figure: String,
    #[arg(required = true)]
    reports: Vec<PathBuf>,
}

impl Median {
    /// Prints the figure's median over all reports that have it.
    ///
    /// # Errors
    /// [`LoadError::BadReport`]: one can't be read, or none has the figure.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        let reports =
            self.reports.iter().map(|path| EarlierReport::read(path)).collect::<Result<Vec<_>, _>>()?;
        let values: Vec<f64> =
            reports.iter().filter_map(|report| Some(report.figures.get(&self.figure)?.value)).collect();
        if values.is_empty() {
            let why = format!("no figure {:?}", self.figure);
            return Err(LoadError::BadReport { path: self.reports[0].display().to_string(), why });
        }
        println!("{}", median(&values));
        Ok(Exit::Ok)
    }
}
