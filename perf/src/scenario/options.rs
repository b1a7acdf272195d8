//! What every scenario can be told: where the server is, and where the report goes.

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::report::Assertion;

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Options {
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub(crate) url: String,
    /// The server's admin port, for its CPU time and memory [default: the process that listens at the URL, if it is on
    /// this machine]
    #[arg(long)]
    pub(crate) admin: Option<String>,
    /// The server's process on this machine, instead of looking for it; several make up one server
    #[arg(long)]
    pub(crate) pid: Vec<u32>,
    /// Count the server's system calls with `perf stat`, which makes each of them a little slower
    #[arg(long)]
    pub(crate) syscalls: bool,
    /// The report [default: perf-reports/SCENARIO-TIME.json]
    #[arg(long)]
    pub(crate) json: Option<PathBuf>,
    /// Write the seconds of the run here: rate and latency of each
    #[arg(long)]
    pub(crate) csv: Option<PathBuf>,
    /// Write the report here as a page with plots, which needs nothing else
    #[arg(long)]
    pub(crate) html: Option<PathBuf>,
    /// Write the raw latencies here, in HdrHistogram's log format
    #[arg(long)]
    pub(crate) hlog: Option<PathBuf>,
    /// What the report's figures must be, for exit code 0: 'p99<50ms,lost=0,rate>=990'
    #[arg(long = "assert", value_delimiter = ',')]
    pub(crate) assertions: Vec<Assertion>,
}
