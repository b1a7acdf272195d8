//! `gochat-perf instructions`: what pure code costs in instructions, which no other load on the machine can change.
//!
//! A counting program names its parts, and does one of them as often as it is told. It is run under callgrind a few times and many
//! times; the difference, divided, is what one operation takes, without the program's start.

mod callgrind;
mod circumstances;
mod recorded;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;

use crate::error::LoadError;
use crate::exit::Exit;
use recorded::{Found, Recorded, judge};

/// Counts what a program's parts take under callgrind, and holds it against the recorded figures: exit code 5 when a part takes more
#[derive(Debug, Args)]
pub(crate) struct Instructions {
    /// Without arguments it names its parts, a line each; with PART TIMES it does one of them
    #[arg(long)]
    program: PathBuf,
    /// The file of figures
    #[arg(long, default_value = "deploy/bench/recorded.json")]
    recorded: PathBuf,
    /// The same program as the recorded commit has it: counted instead of believing the file where compiler, libraries or CPU
    /// are others than when it was written
    #[arg(long)]
    recorded_program: Option<PathBuf>,
    /// Write what is counted to the file, as this commit's
    #[arg(long, value_name = "COMMIT", value_parser = recorded::commit)]
    record: Option<String>,
    /// How much more a part may take, in percent
    #[arg(long, default_value = "2", value_parser = percent)]
    tolerance_percent: f64,
    /// The program to count with
    #[arg(long, default_value = "valgrind")]
    valgrind: PathBuf,
}

/// `15` or `15%`: at least 0, and a number.
pub(crate) fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text).trim().parse::<f64>();
    let percent = number.ok().filter(|percent| percent.is_finite() && *percent >= 0.0);
    percent.ok_or_else(|| format!("{text:?} is no percentage: a number of at least 0, with or without %"))
}

impl Instructions {
    /// # Errors
    /// [`LoadError::BadRecord`]: no such file, a broken one, or one of other parts. [`LoadError::Count`]: valgrind or the
    /// program can't be run.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        let circumstances = circumstances::here(&self.valgrind)?;
        if let Some(commit) = &self.record {
            let instructions = self.count(&self.program)?;
            instructions.iter().for_each(|(part, count)| println!("{part:<24} {count:>12.1}"));
            Recorded::new(commit.clone(), circumstances, instructions).write(&self.recorded)?;
            println!("recorded in {}, for commit {commit}", self.recorded.display());
            return Ok(Exit::Ok);
        }
        let mut recorded = Recorded::read(&self.recorded)?;
        let differences = recorded.differences(&circumstances);
        if !differences.is_empty() {
            println!("NOT COUNTED AS RECORDED: {}", differences.join("; "));
            if let Some(program) = &self.recorded_program {
                println!(
                    "So the recorded commit's own program is counted here, and the file's figures are left aside."
                );
                recorded.instructions = self.count(program)?;
            } else {
                println!("What differs below may come from that alone.");
            }
        }
        let found = judge(&recorded.instructions, &self.count(&self.program)?, self.tolerance_percent);
        found.iter().for_each(|(part, found)| println!("{part:<24} {found}"));
        self.conclude(&found)
    }

    fn conclude(&self, found: &BTreeMap<String, Found>) -> Result<Exit, LoadError> {
        if found.values().any(|found| matches!(found, Found::More { .. })) {
            let most = self.tolerance_percent;
            println!(
                "MORE INSTRUCTIONS than recorded, by over {most} %. If they are worth it: make bench-record"
            );
            return Ok(Exit::Worse);
        }
        let unknown =
            found.iter().filter(|(_, found)| matches!(found, Found::New { .. } | Found::Gone { .. }));
        let unknown: Vec<&str> = unknown.map(|(part, _)| part.as_str()).collect();
        if !unknown.is_empty() {
            let why = format!(
                "it and the program have not the same parts ({}): make bench-record",
                unknown.join(", ")
            );
            return Err(LoadError::BadRecord { path: self.recorded.display().to_string(), why });
        }
        if found.values().any(|found| matches!(found, Found::Less { .. })) {
            println!(
                "Fewer instructions than recorded: make bench-record, so that they don't come back unseen."
            );
        }
        Ok(Exit::Ok)
    }

    fn count(&self, program: &Path) -> Result<BTreeMap<String, f64>, LoadError> {
        callgrind::count(&self.valgrind, program)
    }
}
