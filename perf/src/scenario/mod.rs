//! The scenarios of `gochat-perf`, and the one way in which each is set up, run, checked and reported.

pub(crate) mod broadcast;
pub(crate) mod capacity;
pub(crate) mod chat;
pub(crate) mod connect;
mod course;
pub(crate) mod echo;
mod fleet;
pub(crate) mod handshakes;
pub(crate) mod hold;
pub(crate) mod hostile;
pub(crate) mod idle;
mod load;
pub(crate) mod mixed;
mod options;
mod plain;
pub(crate) mod rooms;
mod schedule;
mod sides;
pub(crate) mod slow_reader;
pub(crate) mod soak;
mod stage;
pub(crate) mod storm;

pub(crate) use fleet::Fleet;
pub(crate) use load::Load;
pub(crate) use options::Options;
pub(crate) use stage::Stage;

use std::collections::BTreeMap;
use std::io::Write;
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use crate::agent::Parts;
use crate::checker::Verdict;
use crate::error::LoadError;
use crate::exit::Exit;
use crate::latency::Latency;
use crate::report::{
    Asserted, Better, FORMAT, Figures, Fingerprint, LatencyReport, Report, VerdictReport, write_csv,
    write_html, write_json,
};

/// Something to do to a server, with its parameters.
pub(crate) trait Scenario: Args + Serialize {
    /// Its name on the command line and in reports.
    const NAME: &'static str;

    fn options(&self) -> &Options;

    /// In how many processes it is made; `None`: it can't be dealt out.
    fn parts(&self) -> Option<&Parts> {
        None
    }

    /// # Errors
    /// [`LoadError::BadConfig`]: parameters that make no load.
    fn check(&self) -> Result<(), LoadError>;

    /// Set-up, load and judgement.
    ///
    /// # Errors
    /// It could not be run. What the server did wrong is in [`Brought`].
    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError>;
}

/// What a scenario brings home.
#[derive(Debug, Default)]
pub(crate) struct Brought {
    /// The checker's.
    pub(crate) verdict: Verdict,
    /// What else was promised and not kept, in words.
    pub(crate) broken: Vec<String>,
    pub(crate) figures: Figures,
    /// Conditions of the scenario's own, judged.
    pub(crate) asserted: Vec<Asserted>,
    pub(crate) latencies: BTreeMap<&'static str, Latency>,
    /// The one that `p50`, `p99`, … mean.
    pub(crate) main_latency: Option<&'static str>,
    /// The scenario's own keys.
    pub(crate) result: Value,
}

impl Brought {
    fn holds(&self) -> bool {
        self.verdict.holds() && self.broken.is_empty()
    }

    fn print(&self, asserted: &[Asserted]) {
        println!("{}", self.verdict);
        self.broken.iter().for_each(|what| println!("BROKEN: {what}"));
        for asserted in asserted {
            let word = if asserted.holds { "holds" } else { "DOES NOT HOLD" };
            println!("{} {word}: {}", asserted.condition, asserted.found);
        }
    }

    /// Adds what every scenario has: the checker's counts, and percentiles of every latency.
    fn complete_figures(&mut self) {
        let verdict = &self.verdict;
        let counts = [
            ("lost", verdict.lost),
            ("doubled", verdict.doubled),
            ("gaps", verdict.gaps),
            ("out_of_order", verdict.out_of_order),
            ("phantom", verdict.phantom),
        ];
        for (name, count) in counts {
            if self.figures.get(name).is_none() {
                self.figures.add(name, count as f64, "", Better::Lower);
            }
        }
        for (name, latency) in &self.latencies {
            self.figures.add_latency(&format!("{name}."), latency);
            if self.main_latency == Some(*name) {
                self.figures.add_latency("", latency);
            }
        }
    }
}

/// Sets up, runs, judges and reports one scenario.
///
/// # Errors
/// It could not be run.
pub(crate) fn play<S: Scenario>(scenario: &S) -> Result<Exit, LoadError> {
    scenario.check()?;
    let options = scenario.options();
    let started = SystemTime::now();
    let mut stage = Stage::set(options, scenario.parts(), started)?;
    let mut brought = scenario.run(&mut stage)?;
    brought.complete_figures();
    let mut asserted = std::mem::take(&mut brought.asserted);
    asserted.extend(options.assertions.iter().map(|assertion| assertion.judge(&brought.figures)));
    let exit = match (brought.holds(), asserted.iter().all(|asserted| asserted.holds)) {
        (false, _) => Exit::Broken,
        (true, false) => Exit::Asserted,
        (true, true) => Exit::Ok,
    };
    brought.print(&asserted);
    let seen = stage.strike()?;
    let started_unix_ms = started.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64);
    let report = Report {
        format: FORMAT,
        scenario: S::NAME,
        started_unix_ms,
        seconds: seen.seconds,
        exit: exit as u8,
        verdict: VerdictReport::new(&brought.verdict, &brought.broken),
        asserted,
        doctor: seen.doctor,
        parameters: serde_json::to_value(scenario).unwrap_or_default(),
        fingerprint: Fingerprint::take(&seen.server_pids),
        main_latency: brought.main_latency,
        latencies: brought
            .latencies
            .iter()
            .map(|(name, latency)| (*name, LatencyReport::from(latency)))
            .collect(),
        figures: brought.figures,
        intervals: seen.intervals,
        server_pids: seen.server_pids,
        agents: seen.agents,
        samples: seen.samples,
        result: brought.result,
    };
    let path = options
        .json
        .clone()
        .unwrap_or_else(|| format!("perf-reports/{}-{started_unix_ms}.json", S::NAME).into());
    write_json(&path, &report)?;
    say(format_args!("report: {}", path.display()));
    if let Some(path) = &options.html {
        write_html(path, &report)?;
    }
    if let Some(path) = &options.csv {
        write_csv(path, &report.intervals)?;
    }
    Ok(exit)
}

/// Threads for a load on this machine: half of the cores, for the server needs the others.
pub(crate) fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn say(line: std::fmt::Arguments<'_>) {
    // Progress is for whoever looks; a closed stderr is no reason to stop a measurement.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn bad(why: &str) -> Result<(), LoadError> {
    Err(LoadError::BadConfig(why.to_owned()))
}

fn check_pairs(users: usize) -> Result<(), LoadError> {
    if users < 2 || !users.is_multiple_of(2) {
        return bad("--users must be even and at least 2: users talk in pairs");
    }
    Ok(())
}

/// `what` names the parameters.
fn check_seconds(what: &str, seconds: &[f64]) -> Result<(), LoadError> {
    if seconds.iter().all(|seconds| (0.0..=86_400.0).contains(seconds)) {
        return Ok(());
    }
    bad(&format!("{what} must be between 0 and 86400"))
}
