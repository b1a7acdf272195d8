//! One program under callgrind.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output};

use crate::error::LoadError;

/// Enough for free lists to be filled and tables to be as large as they get.
const FEW: u64 = 100;
/// The difference is divided by 1,000.
const MANY: u64 = 1_100;

/// Instructions for each operation of each part.
pub(super) fn count(valgrind: &Path, program: &Path) -> Result<BTreeMap<String, f64>, LoadError> {
    let listed = run(&mut Command::new(program))?;
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    let parts: Vec<&str> = listed.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    if parts.is_empty() {
        return Err(LoadError::Count {
            what: program.display().to_string(),
            why: "it names no parts".to_owned(),
        });
    }
    parts
        .into_iter()
        .map(|part| {
            let (few, many) = (total(valgrind, program, part, FEW)?, total(valgrind, program, part, MANY)?);
            if many <= few {
                let why = format!("{part} takes no more for {MANY} times than for {FEW}");
                return Err(LoadError::Count { what: program.display().to_string(), why });
            }
            Ok((part.to_owned(), (many - few) as f64 / (MANY - FEW) as f64))
        })
        .collect()
}

/// Instructions of a whole process.
fn total(valgrind: &Path, program: &Path, part: &str, times: u64) -> Result<u64, LoadError> {
    let mut command = Command::new(valgrind);
    // VALGRIND_OPTS and what else stands there would make counts differ from shell to shell.
    command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
    command.args(["--tool=callgrind", "--callgrind-out-file=/dev/null"]);
    let told = run(command.arg(program).args([part, &times.to_string()]))?;
    let told = String::from_utf8_lossy(&told.stderr).into_owned();
    collected(&told).ok_or_else(|| LoadError::Count {
        what: valgrind.display().to_string(),
        why: format!("it told no count of {part}: {}", told.trim()),
    })
}

/// The number of a line such as `==77== Collected : 1234567`.
fn collected(told: &str) -> Option<u64> {
    told.lines().find_map(|line| line.split_once("Collected :")?.1.trim().parse().ok())
}

fn run(command: &mut Command) -> Result<Output, LoadError> {
    let what = command.get_program().to_string_lossy().into_owned();
    match command.output() {
        Ok(output) if output.status.success() => Ok(output),
        Ok(output) => {
            let said = String::from_utf8_lossy(&output.stderr).into_owned();
            Err(LoadError::Count { what, why: format!("{}: {}", output.status, said.trim()) })
        }
        Err(error) => Err(LoadError::Count { what, why: error.to_string() }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_total_is_found_among_what_callgrind_says() {
        let told = "==7== Callgrind, a call-graph generating cache profiler\n==7== Events    : Ir\n\
                    ==7== Collected : 123456\n==7== \n==7== I   refs:      123,456\n";
        assert_eq!(collected(told), Some(123_456));
        assert_eq!(collected("==7== Collected : \n"), None);
        assert_eq!(collected(""), None);
    }
}
