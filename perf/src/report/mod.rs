//! What a run leaves behind, for people and for machines. Its JSON is described by docs/report.schema.json.

mod assertion;
mod figures;
mod files;
mod fingerprint;
mod read;
pub(crate) mod units;
mod window;

pub(crate) use assertion::{Asserted, Assertion};
pub(crate) use figures::{Better, Figure, Figures};
pub(crate) use files::{RawLog, write_csv, write_html, write_json, write_text};
pub(crate) use fingerprint::Fingerprint;
pub(crate) use read::{EarlierReport, Median};
pub(crate) use window::{SendingWindow, WindowStart};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::agent::AgentReport;
use crate::checker::Verdict;
use crate::doctor::Finding;
use crate::latency::{Latency, Percentiles};
use crate::meter::Sample;

/// Raised when a field changes its meaning or goes; new fields don't raise it.
pub(crate) const FORMAT: u32 = 1;

/// A run's JSON file.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) format: u32,
    pub(crate) scenario: &'static str,
    pub(crate) started_unix_ms: u64,
    pub(crate) seconds: f64,
    /// The command's exit code.
    pub(crate) exit: u8,
    pub(crate) verdict: VerdictReport,
    pub(crate) asserted: Vec<Asserted>,
    /// What would spoil the figures.
    pub(crate) doctor: Vec<Finding>,
    /// Of the command line, defaults included.
    pub(crate) parameters: Value,
    pub(crate) fingerprint: Fingerprint,
    /// What can be compared and asserted.
    pub(crate) figures: Figures,
    /// The latency that `p50`, `p99`, … of the figures mean; `null`: the run had none.
    pub(crate) main_latency: Option<&'static str>,
    pub(crate) latencies: BTreeMap<&'static str, LatencyReport>,
    /// Second by second while something was due.
    pub(crate) intervals: Vec<Interval>,
    pub(crate) server_pids: Vec<u32>,
    pub(crate) samples: Vec<Sample>,
    /// Those that made the load; empty: this process did.
    pub(crate) agents: Vec<AgentReport>,
    /// The scenario's own keys, which are kept.
    pub(crate) result: Value,
}

#[derive(Debug, Serialize)]
pub(crate) struct VerdictReport {
    pub(crate) holds: bool,
    pub(crate) lost: u64,
    pub(crate) doubled: u64,
    pub(crate) gaps: u64,
    pub(crate) out_of_order: u64,
    pub(crate) phantom: u64,
    /// Everything that broke a promise, in words; the checker's findings up to its bound.
    pub(crate) broken: Vec<String>,
}

impl VerdictReport {
    pub(crate) fn new(verdict: &Verdict, broken: &[String]) -> VerdictReport {
        let findings = verdict.findings.iter();
        let findings =
            findings.map(|found| format!("{:?} in {}: {}", found.fault, found.conversation, found.text));
        VerdictReport {
            holds: verdict.holds() && broken.is_empty(),
            lost: verdict.lost,
            doubled: verdict.doubled,
            gaps: verdict.gaps,
            out_of_order: verdict.out_of_order,
            phantom: verdict.phantom,
            broken: broken.iter().cloned().chain(findings).collect(),
        }
    }
}

/// µs.
#[derive(Debug, Serialize)]
pub(crate) struct LatencyReport {
    pub(crate) count: u64,
    pub(crate) mean: f64,
    #[serde(flatten)]
    pub(crate) percentiles: Percentiles,
    /// The cumulative distribution: (quantile, µs).
    pub(crate) curve: Vec<(f64, u64)>,
}

impl From<&Latency> for LatencyReport {
    fn from(latency: &Latency) -> LatencyReport {
        LatencyReport {
            count: latency.len(),
            mean: latency.mean(),
            percentiles: latency.percentiles(),
            curve: latency.curve(),
        }
    }
}

/// About a second of a run.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Interval {
    /// When it ended, since the run began.
    pub(crate) at_s: f64,
    pub(crate) seconds: f64,
    /// Operations finished in it.
    pub(crate) done: u64,
    /// Of the main latency; `null`: nothing was measured in it.
    pub(crate) latency_us: Option<Percentiles>,
}
