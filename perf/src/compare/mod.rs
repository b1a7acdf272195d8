//! Two or more sets of reports against each other: which differences are more than noise.

mod bootstrap;
mod collect;
mod figure_file;
mod fill;
mod markdown;
mod side;
mod table;
mod versus;

pub(crate) use bootstrap::median;
pub(crate) use collect::Collect;
pub(crate) use fill::Fill;
pub(crate) use markdown::Markdown;
pub(crate) use versus::Versus;

use std::path::PathBuf;

use clap::Args;
use serde::Serialize;

use crate::error::LoadError;
use crate::exit::Exit;
use crate::instructions::percent;
use crate::report::write_json;
use side::Side;
use table::Table;

/// Compares B with A. Each is a report or a folder of them. Folders of at least four reports are compared run by run; single
/// reports second by second, which leaves out what differs from run to run
#[derive(Debug, Args)]
pub(crate) struct Compare {
    a: PathBuf,
    b: PathBuf,
    #[command(flatten)]
    how: How,
}

/// What both `compare` and `versus` can be told.
#[derive(Debug, Args, Serialize)]
struct How {
    /// Only these figures
    #[arg(long, value_delimiter = ',')]
    figures: Vec<String>,
    /// Exit with 5 when anything is worse by more than noise
    #[arg(long)]
    gate: bool,
    /// With --gate: only when the whole interval lies beyond this share of the first one's figure, such as 15%
    #[arg(long, requires = "gate", value_name = "PERCENT", default_value = "0", value_parser = percent)]
    worse_by: f64,
    /// Of the bootstrap: the same seed gives the same intervals
    #[arg(long, default_value_t = 1)]
    bootstrap_seed: u64,
    /// Write the comparison here too
    #[arg(long)]
    json: Option<PathBuf>,
}

impl Compare {
    /// # Errors
    /// [`LoadError::BadReport`]: a report can't be read, or they are of different scenarios.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        let (a, b) = (Side::read("A", &self.a)?, Side::read("B", &self.b)?);
        self.how.conclude(&[a, b])
    }
}

impl How {
    /// Prints and writes the comparison of all others with the first.
    fn conclude(&self, sides: &[Side]) -> Result<Exit, LoadError> {
        side::check_same_scenario(sides)?;
        for difference in side::differing_circumstances(sides) {
            println!("not alike: {difference}");
        }
        let table = Table::of(sides, &self.figures, self.bootstrap_seed, self.worse_by);
        table.print();
        if let Some(path) = &self.json {
            write_json(path, &table)?;
        }
        if !self.gate {
            return Ok(Exit::Ok);
        }
        if table.is_anything_worse() {
            return Ok(Exit::Worse);
        }
        // A gate that can't look must not stand open.
        match self.figures.iter().find(|figure| !table.tells(figure, sides.len())) {
            Some(figure) => Err(LoadError::NotJudged { figure: figure.clone() }),
            None => Ok(Exit::Ok),
        }
    }
}
