//! `gochat-perf versus`: one scenario against several targets by turns, so that what the machine does meanwhile hits all alike.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::Args;

use super::How;
use super::side::Side;
use crate::apart;
use crate::error::LoadError;
use crate::exit::Exit;
use crate::report::EarlierReport;

/// Runs one scenario against each target by turns, in rounds, and compares all others with the first. A run that broke
/// a promise ends it with exit code 1
#[derive(Debug, Args)]
pub(crate) struct Versus {
    /// NAME=URL, with further parameters of this target's runs after commas: ours=http://127.0.0.1:8080,pid=77
    #[arg(long = "target", required = true)]
    targets: Vec<Target>,
    /// Runs of each target
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(5..))]
    rounds: u32,
    /// Where every run's report goes: FOLDER/NAME/ROUND.json
    #[arg(long, default_value = "perf-reports/versus")]
    reports: PathBuf,
    #[command(flatten)]
    how: How,
    /// The scenario and its parameters, after `--`
    #[arg(last = true, required = true)]
    scenario: Vec<String>,
}

/// One of those that are compared.
#[derive(Debug, Clone)]
struct Target {
    name: String,
    /// `--url=…` and what else was said of it.
    parameters: Vec<String>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let mut parts = text.split(',');
        let first = parts.next().and_then(|part| part.split_once('='));
        let (name, url) = first.ok_or_else(|| format!("{text:?} is not NAME=URL"))?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
        if name.is_empty() || !name.chars().all(is_plain) || name.starts_with('.') {
            return Err(format!("{name:?} is no name: letters, digits, '.', '_' and '-'"));
        }
        let more = parts.map(|part| format!("--{}", part.trim_start_matches('-')));
        let parameters = std::iter::once(format!("--url={url}")).chain(more).collect();
        Ok(Target { name: name.to_owned(), parameters })
    }
}

impl Versus {
    /// # Errors
    /// [`LoadError`]: fewer than two targets, or a run that could not be run.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        if self.targets.len() < 2 {
            return Err(LoadError::BadConfig("versus needs at least two --target".to_owned()));
        }
        for target in &self.targets {
            // Reports of an earlier comparison would be taken for this one's.
            match std::fs::remove_dir_all(self.reports.join(&target.name)) {
                Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                    return Err(LoadError::Io { what: "cannot empty the folder of reports", source });
                }
                _ => {}
            }
        }
        for round in 0..self.rounds {
            for target in self.order_of(round) {
                eprintln!("round {} of {}: {}", round + 1, self.rounds, target.name);
                match apart::run(&self.scenario, &target.parameters, &self.report_of(target, round))? {
                    Exit::Ok => {}
                    other => {
                        println!("{} did not get through round {}", target.name, round + 1);
                        return Ok(other);
                    }
                }
            }
        }
        let sides = self.targets.iter().map(|target| self.side_of(target)).collect::<Result<Vec<_>, _>>()?;
        self.how.conclude(&sides)
    }

    /// Each round begins with another target: whoever comes first finds a machine that has rested.
    fn order_of(&self, round: u32) -> impl Iterator<Item = &Target> {
        let first = round as usize % self.targets.len();
        self.targets[first..].iter().chain(&self.targets[..first])
    }

    fn report_of(&self, target: &Target, round: u32) -> PathBuf {
        self.reports.join(&target.name).join(format!("{}.json", round + 1))
    }

    fn side_of(&self, target: &Target) -> Result<Side, LoadError> {
        let reports = (0..self.rounds).map(|round| EarlierReport::read(&self.report_of(target, round)));
        Ok(Side::new(&target.name, Path::new(&target.name), reports.collect::<Result<_, _>>()?))
    }
}
