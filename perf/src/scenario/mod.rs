//! The commands of `gochat-perf`.

pub mod chat;
mod course;
pub mod hold;
pub mod hostile;
pub mod storm;

use std::io::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::error::LoadError;
use crate::load::ChatLoad;

/// How a command ended. The numbers are kept: scripts rely on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Exit {
    Ok = 0,
    /// The server broke a promise: something was lost, doubled, out of order, left out or made up.
    Broken = 1,
    /// The command line asked for something that cannot be.
    Usage = 2,
    /// The load could not be run: no server, no users, no file.
    CouldNotRun = 3,
}

impl From<&LoadError> for Exit {
    fn from(error: &LoadError) -> Exit {
        match error {
            LoadError::BadUrl { .. } | LoadError::BadConfig(_) => Exit::Usage,
            _ => Exit::CouldNotRun,
        }
    }
}

/// Threads for a load on this machine: half of the cores, for the server needs the others.
pub fn default_threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get() / 2).max(1)
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn say(line: std::fmt::Arguments<'_>) {
    // Progress is for whoever looks; a closed stderr is no reason to stop a measurement.
    let _ = writeln!(std::io::stderr(), "{line}");
}

fn write_json(path: &Path, report: &impl Serialize) -> Result<(), LoadError> {
    let text = serde_json::to_string_pretty(report).map_err(std::io::Error::other);
    text.and_then(|text| std::fs::write(path, text + "\n"))
        .map_err(|source| LoadError::Io { what: "cannot write the JSON file", source })
}

/// Waits for `users` sessions and shows how far it is.
fn wait_connected(load: &ChatLoad, users: usize, connects_per_s: f64) -> Result<(), LoadError> {
    let patience = Duration::from_secs_f64(30.0 + 4.0 * users as f64 / connects_per_s);
    let began = Instant::now();
    loop {
        let rest = patience.saturating_sub(began.elapsed());
        match load.wait_ready_count(users as u64, rest.min(Duration::from_secs(1))) {
            Err(LoadError::NotReady { ready, .. }) if began.elapsed() < patience => {
                say(format_args!("connecting: {ready} of {users} sessions {}", trouble_of(load)));
            }
            other => return other,
        }
    }
}

fn trouble_of(load: &ChatLoad) -> String {
    let trouble = load.trouble();
    if trouble.is_empty() { trouble } else { format!("(last trouble: {trouble})") }
}
