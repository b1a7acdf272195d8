//! `gochat-perf table`: a file of figures as a table in Markdown.

use std::path::PathBuf;

use clap::Args;
use serde_json::Value;

use super::bootstrap::ratio_bounds;
use super::figure_file::{Cell, FigureFile, Row, short, with_bounds};
use crate::error::LoadError;
use crate::exit::Exit;

/// Prints a file of figures as a table in Markdown: each target's median with its interval, and below it how many times the
/// first target's it is
#[derive(Debug, Args)]
pub(crate) struct Markdown {
    /// As compare, versus and collect write it
    file: PathBuf,
    /// The target that the others are divided by [default: the first by name]
    #[arg(long)]
    first: Option<String>,
    /// Of the ratios' bootstrap
    #[arg(long, default_value_t = 1)]
    bootstrap_seed: u64,
}

impl Markdown {
    /// # Errors
    /// [`LoadError`]: the file can't be read, or it has no such target.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        let file = FigureFile::read(&self.file)?;
        let targets = self.in_order(&file)?;
        println!("| figure | unit | {} |", targets.join(" | "));
        println!("| --- | --- |{}", " --- |".repeat(targets.len()));
        for (name, row) in &file.figures {
            let cells: Vec<String> =
                targets.iter().map(|target| cell(row, targets[0], target, self.bootstrap_seed)).collect();
            println!("| `{name}` | {} | {} |", row.unit, cells.join(" | "));
        }
        for (target, why) in &file.missing {
            println!("\nNot measured: {target}: {why}");
        }
        if !file.versions.is_empty() {
            let versions = file.versions.iter().map(|(target, made_of)| format!("{target}: {made_of}"));
            println!("\n{}", versions.collect::<Vec<_>>().join("; "));
        }
        println!("\n{}", host_in_words(&file.host));
        Ok(Exit::Ok)
    }

    /// All targets, the one that the others are divided by at the head.
    fn in_order<'a>(&self, file: &'a FigureFile) -> Result<Vec<&'a str>, LoadError> {
        let mut targets: Vec<&str> =
            file.figures.values().flat_map(|row| row.targets.keys().map(String::as_str)).collect();
        targets.sort_unstable();
        targets.dedup();
        let at = match &self.first {
            None => 0,
            Some(first) => targets.iter().position(|target| target == first).ok_or_else(|| {
                let why = format!("no target {first:?}: it has {}", targets.join(", "));
                LoadError::BadReport { path: self.file.display().to_string(), why }
            })?,
        };
        if !targets.is_empty() {
            targets[..=at].rotate_right(1);
        }
        Ok(targets)
    }
}

/// A target's median with its interval, and how many times the first target's it is.
pub(super) fn cell(row: &Row, first: &str, target: &str, seed: u64) -> String {
    let Some(cell) = row.targets.get(target) else { return NOT_MEASURED.to_owned() };
    match row.targets.get(first).filter(|_| target != first) {
        Some(first) => format!("{cell}<br>{}", ratio(first, cell, seed)),
        None => cell.to_string(),
    }
}

pub(super) const NOT_MEASURED: &str = "not measured";

/// `× 1.40 [1.32, 1.46]`
fn ratio(first: &Cell, other: &Cell, seed: u64) -> String {
    let times = other.median / first.median;
    if !times.is_finite() {
        return String::new();
    }
    let bounds = ratio_bounds(&first.values, &other.values, seed).map(|bounds| (bounds.low, bounds.high));
    format!(
        "× {}",
        with_bounds(times, bounds, |times| if times < 10.0 { format!("{times:.2}") } else { short(times) })
    )
}

/// Where and of what the figures are.
pub(super) fn host_in_words(host: &Value) -> String {
    let text = |part: &str| host[part].as_str().unwrap_or("unknown").to_owned();
    let gib = host["memory_bytes"]
        .as_f64()
        .map_or("?".to_owned(), |bytes| format!("{:.0}", bytes / (1 << 30) as f64));
    format!(
        "{} cores of {}, {gib} GiB, Linux {}; gochat-perf {}, commit {}",
        host["cores"],
        text("cpu"),
        text("kernel"),
        text("tool_version"),
        text("commit")
    )
}
