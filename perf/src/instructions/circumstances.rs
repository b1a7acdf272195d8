//! What a count depends on beside the code: who compiled it, and which variants of memcpy, of the UTF-8 check and of the
//! HTTP parser are taken at run time.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use crate::error::LoadError;

/// By name, in words.
pub(super) type Circumstances = BTreeMap<String, String>;

/// Those that glibc, simdutf8 and httparse ask for; valgrind shows no AVX-512 to the program, whatever the CPU has.
const FEATURES: [&str; 6] = ["sse4_2", "avx", "avx2", "bmi2", "erms", "fsrm"];

/// # Errors
/// [`LoadError::Count`]: no valgrind.
pub(super) fn here(valgrind: &Path) -> Result<Circumstances, LoadError> {
    let version = told(Command::new(valgrind).arg("--version")).ok_or_else(|| LoadError::Count {
        what: valgrind.display().to_string(),
        why: "it can't be run; on Debian: apt-get install valgrind".to_owned(),
    })?;
    let unknown = || "unknown".to_owned();
    let rustc = told(Command::new("rustc").arg("--version")).unwrap_or_else(unknown);
    let libc = told(Command::new("getconf").arg("GNU_LIBC_VERSION")).unwrap_or_else(unknown);
    let cpuinfo = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let all = [
        ("cpu", format!("{} {}", std::env::consts::ARCH, features(&cpuinfo).join(" "))),
        ("libc", libc),
        ("rustc", rustc),
        ("rustflags", std::env::var("RUSTFLAGS").unwrap_or_default()),
        ("valgrind", version),
    ];
    Ok(all.into_iter().map(|(name, value)| (name.to_owned(), value.trim().to_owned())).collect())
}

/// The first line that a command prints; `None`: it can't be run, or fails.
fn told(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    String::from_utf8_lossy(&output.stdout).lines().next().map(str::to_owned)
}

fn features(cpuinfo: &str) -> Vec<&'static str> {
    let flags = cpuinfo.lines().find_map(|line| line.strip_prefix("flags")).unwrap_or_default();
    let flags: Vec<&str> = flags.split_ascii_whitespace().collect();
    FEATURES.into_iter().filter(|feature| flags.contains(feature)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn features_are_whole_words_of_the_first_cpu() {
        let cpuinfo = "processor\t: 0\nflags\t\t: fpu sse4_2 avx512f avx2\nprocessor\t: 1\nflags\t\t: avx\n";
        assert_eq!(features(cpuinfo), ["sse4_2", "avx2"]);
        assert!(features("").is_empty());
    }
}
