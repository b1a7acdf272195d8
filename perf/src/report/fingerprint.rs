//! On what a figure was measured: without it two reports can't be compared.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;

#[derive(Debug, Serialize)]
pub(crate) struct Fingerprint {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) tool_version: &'static str,
    /// Of the git folder that the run was started in, "-dirty" with changes that are not committed; `null`: none.
    pub(crate) commit: Option<String>,
    /// The server's processes on this machine.
    pub(crate) server: Vec<ServerProcess>,
}

/// What is known of a server's process from outside.
#[derive(Debug, Serialize)]
pub(crate) struct ServerProcess {
    pub(crate) pid: u32,
    pub(crate) command: Vec<String>,
    /// Tells builds apart that have one name; `null`: not ours to read.
    pub(crate) binary_bytes: Option<u64>,
    pub(crate) binary_modified_unix_s: Option<u64>,
}

impl Fingerprint {
    pub(crate) fn take(server_pids: &[u32]) -> Fingerprint {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        Fingerprint {
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            cpu: value_of(&read("/proc/cpuinfo"), "model name")
                .unwrap_or_else(|| std::env::consts::ARCH.to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_bytes: value_of(&read("/proc/meminfo"), "MemTotal")
                .and_then(|value| value.split_whitespace().next()?.parse::<u64>().ok())
                .map_or(0, |kib| kib * 1024),
            tool_version: env!("CARGO_PKG_VERSION"),
            commit: commit_here(),
            server: server_pids.iter().map(|pid| server_process(*pid)).collect(),
        }
    }
}

/// The first `name : value` of a /proc file.
fn value_of(text: &str, name: &str) -> Option<String> {
    let of_line = |line: &str| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then(|| value.trim().to_owned())
    };
    text.lines().find_map(of_line)
}

fn commit_here() -> Option<String> {
    let git = |args: &[&str]| {
        let output = Command::new("git").args(args).output().ok().filter(|output| output.status.success())?;
        Some(String::from_utf8_lossy(&output.stdout).trim().to_owned())
    };
    let commit = git(&["rev-parse", "HEAD"])?;
    let is_dirty =
        git(&["status", "--porcelain", "--untracked-files=no"]).is_some_and(|changes| !changes.is_empty());
    Some(if is_dirty { commit + "-dirty" } else { commit })
}

fn server_process(pid: u32) -> ServerProcess {
    let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words = words.split(|byte| *byte == 0).filter(|word| !word.is_empty());
    let binary = fs::metadata(Path::new("/proc").join(pid.to_string()).join("exe")).ok();
    let modified = binary.as_ref().and_then(|binary| binary.modified().ok());
    ServerProcess {
        pid,
        command: words.map(|word| String::from_utf8_lossy(word).into_owned()).collect(),
        binary_bytes: binary.map(|binary| binary.len()),
        binary_modified_unix_s: modified
            .and_then(|modified| modified.duration_since(std::time::UNIX_EPOCH).ok())
            .map(|since| since.as_secs()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_has_a_fingerprint() {
        let found = Fingerprint::take(&[std::process::id()]);
        assert!(
            !found.kernel.is_empty() && !found.cpu.is_empty() && found.cores > 0 && found.memory_bytes > 0
        );
        assert!(
            !found.server[0].command.is_empty() && found.server[0].binary_bytes > Some(1000),
            "{found:?}"
        );
        assert_eq!(value_of("processor\t: 0\nmodel name\t: X: 9\n", "model name").as_deref(), Some("X: 9"));
    }
}
