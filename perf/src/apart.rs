//! A scenario in a process of its own, so that no run inherits another one's memory.

use std::path::Path;
use std::process::{Command, Stdio};

use crate::error::LoadError;
use crate::exit::Exit;

/// Runs this program once more with these words; its report goes to `json`, its progress to standard error.
///
/// # Errors
/// [`LoadError::Io`]: the machine starts no process.
pub(crate) fn run(words: &[String], more: &[String], json: &Path) -> Result<Exit, LoadError> {
    let io = |source| LoadError::Io { what: "cannot run a scenario", source };
    let own = std::env::current_exe().map_err(io)?;
    let status = Command::new(own)
        .args(words)
        .args(more)
        .arg("--json")
        .arg(json)
        .stdout(Stdio::null())
        .status()
        .map_err(io)?;
    Ok(Exit::of_code(status.code()))
}
