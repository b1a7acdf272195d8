//! On what a figure was measured: without it two reports can't be compared.

use std::fs;
use std::path::Path;
use std::process::Command;

use serde::Serialize;
use sha2::{Digest, Sha256};

#[derive(Debug, Serialize)]
pub(crate) struct Fingerprint {
    pub(crate) kernel: String,
    pub(crate) cpu: String,
    pub(crate) cores: usize,
    pub(crate) memory_bytes: u64,
    pub(crate) tool_version: &'static str,
    /// What this program was built from; `null`: the build was not told (GOCHAT_COMMIT).
    pub(crate) tool_commit: Option<&'static str>,
    /// What `GOCHAT_COMMIT` says, else of the git folder that the run was started in, "-dirty" with changes that are not
    /// committed; `null`: neither.
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
    /// Which build it is, whatever it is called; `null`: not ours to read.
    pub(crate) binary_sha256: Option<String>,
    /// Of the settings that the command line doesn't show: files of settings or code that it names, and variables of the
    /// environment that begin with GOCHAT_. `null`: there are none.
    pub(crate) settings_sha256: Option<String>,
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
            tool_commit: option_env!("GOCHAT_COMMIT").filter(|commit| !commit.is_empty()),
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
    if let Some(told) = std::env::var("GOCHAT_COMMIT").ok().filter(|told| !told.is_empty()) {
        return Some(told);
    }
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
    let process = Path::new("/proc").join(pid.to_string());
    let list = |name: &str| {
        let words = fs::read(process.join(name)).unwrap_or_default();
        let words = words.split(|byte| *byte == 0).filter(|word| !word.is_empty());
        words.map(|word| String::from_utf8_lossy(word).into_owned()).collect::<Vec<_>>()
    };
    let command = list("cmdline");
    let binary = fs::metadata(process.join("exe")).ok();
    let modified = binary.as_ref().and_then(|binary| binary.modified().ok());
    ServerProcess {
        pid,
        binary_sha256: sha256_of_file(&process.join("exe")),
        settings_sha256: settings_sha256(&command, &list("environ"), &process.join("cwd")),
        command,
        binary_bytes: binary.map(|binary| binary.len()),
        binary_modified_unix_s: modified
            .and_then(|modified| modified.duration_since(std::time::UNIX_EPOCH).ok())
            .map(|since| since.as_secs()),
    }
}

fn sha256_of_file(path: &Path) -> Option<String> {
    let mut hash = Sha256::new();
    std::io::copy(&mut fs::File::open(path).ok()?, &mut Hashing(&mut hash)).ok()?;
    Some(hex(&hash.finalize()))
}

struct Hashing<'a>(&'a mut Sha256);

impl std::io::Write for Hashing<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Ends of files that are read as settings or code: a database's file, which a command line may name too, changes all the time.
const SETTINGS: [&str; 9] = ["toml", "json", "yaml", "yml", "ini", "conf", "js", "ts", "py"];

/// `folder`: where the process runs, which its words' paths begin at.
fn settings_sha256(command: &[String], environment: &[String], folder: &Path) -> Option<String> {
    let mut parts: Vec<Vec<u8>> = command
        .iter()
        .filter_map(|word| {
            let path = word.split_once('=').map_or(word.as_str(), |(_, value)| value);
            let end = Path::new(path).extension()?.to_str()?;
            if SETTINGS.contains(&end) { fs::read(folder.join(path)).ok() } else { None }
        })
        .collect();
    let mut variables: Vec<&String> =
        environment.iter().filter(|variable| variable.starts_with("GOCHAT_")).collect();
    variables.sort();
    parts.extend(variables.into_iter().map(|variable| variable.clone().into_bytes()));
    let mut hash = Sha256::new();
    for part in &parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    (!parts.is_empty()).then(|| hex(&hash.finalize()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_told_apart_by_what_they_hold() {
        let folder = tempfile::tempdir().unwrap();
        let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
        let command = words(&["gochat", "--config=a.toml", "--port", "80", "store.db"]);
        let of = |environment: &[&str]| settings_sha256(&command, &words(environment), folder.path());
        assert_eq!(of(&["PATH=/bin"]), None);
        std::fs::write(folder.path().join("store.db"), "1").unwrap();
        assert_eq!(of(&[]), None, "a database is no setting");
        std::fs::write(folder.path().join("a.toml"), "x = 1").unwrap();
        let first = of(&["PATH=/bin"]);
        assert!(first.is_some());
        assert_eq!(of(&["PATH=/sbin"]), first);
        assert_ne!(of(&["GOCHAT__X=1"]), first);
        assert_eq!(of(&["GOCHAT__X=1", "GOCHAT__Y=2"]), of(&["GOCHAT__Y=2", "GOCHAT__X=1"]));
        std::fs::write(folder.path().join("a.toml"), "x = 2").unwrap();
        assert_ne!(of(&[]), first);
    }

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
        assert_eq!(found.server[0].binary_sha256.as_ref().map(String::len), Some(64));
        assert_eq!(value_of("processor\t: 0\nmodel name\t: X: 9\n", "model name").as_deref(), Some("X: 9"));
    }
}
