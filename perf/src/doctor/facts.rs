//! What the machine says of itself.

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant, SystemTime};

use rustix::process::{Resource, getrlimit};

use crate::meter::proc;

#[derive(Debug)]
pub(super) struct Facts {
    pub(super) is_debug_build: bool,
    pub(super) cores: usize,
    pub(super) descriptors_max: u64,
    /// The range of local ports; `None`: not readable, as with the others.
    pub(super) ports: Option<(u64, u64)>,
    /// `None`: no limit.
    pub(super) memlock_bytes: Option<u64>,
    pub(super) io_uring_disabled: Option<u64>,
    pub(super) clocksource: String,
    pub(super) clock_read_ns: f64,
    /// The smallest step that it was seen to make.
    pub(super) clock_step_ns: u64,
    /// How far the wall clock moved against it while the machine was watched.
    pub(super) wall_clock_moved_ms: f64,
    /// The longest queue of connections that wait to be accepted.
    pub(super) backlog_max: Option<u64>,
    /// The fewest descriptors that one of the server's processes may open; `None`: no process known.
    pub(super) server_descriptors: Option<u64>,
    pub(super) governor: Option<String>,
    pub(super) watched_s: f64,
    /// Of the CPU time of all cores.
    pub(super) steal_share: f64,
    /// Likewise: what neither this program nor the expected processes used.
    pub(super) others_share: f64,
    /// The processes that used most of it: name and share.
    pub(super) busiest: Vec<String>,
    pub(super) memory_available_bytes: Option<u64>,
}

impl Facts {
    pub(super) fn gather(lasting: Duration, expected: &[u32]) -> Facts {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let watched = Watched::over(lasting, expected);
        let capacity_s = watched.seconds * cores as f64;
        let mut ports = word("/proc/sys/net/ipv4/ip_local_port_range");
        let (low, high) = (ports.next(), ports.next());
        Facts {
            is_debug_build: cfg!(debug_assertions),
            cores,
            descriptors_max: getrlimit(Resource::Nofile).maximum.unwrap_or(u64::MAX),
            ports: low.zip(high),
            memlock_bytes: getrlimit(Resource::Memlock).current,
            io_uring_disabled: word("/proc/sys/kernel/io_uring_disabled").next(),
            clocksource: text("/sys/devices/system/clocksource/clocksource0/current_clocksource")
                .unwrap_or_else(|| "unknown clock source".to_owned()),
            clock_read_ns: clock_read_ns(),
            clock_step_ns: clock_step_ns(),
            wall_clock_moved_ms: watched.wall_clock_moved_s * 1e3,
            backlog_max: word("/proc/sys/net/core/somaxconn").next(),
            server_descriptors: expected.iter().filter_map(|pid| descriptors_of(*pid)).min(),
            governor: text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
            watched_s: watched.seconds,
            steal_share: watched.steal_s / capacity_s,
            others_share: (watched.others_s / capacity_s).max(0.0),
            busiest: watched.busiest(capacity_s),
            memory_available_bytes: text("/proc/meminfo").and_then(|text| {
                let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
                Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
            }),
        }
    }
}

fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

fn word(path: &str) -> impl Iterator<Item = u64> {
    let words = text(path).unwrap_or_default();
    words.split_whitespace().filter_map(|word| word.parse().ok()).collect::<Vec<_>>().into_iter()
}

fn clock_read_ns() -> f64 {
    const LOOKS: u32 = 10_000;
    let began = Instant::now();
    for _ in 0..LOOKS {
        std::hint::black_box(Instant::now());
    }
    began.elapsed().as_secs_f64() * 1e9 / f64::from(LOOKS)
}

fn clock_step_ns() -> u64 {
    const LOOKS: u32 = 1_000;
    let mut last = Instant::now();
    let mut steps = (0..LOOKS).map(|_| {
        let now = Instant::now();
        now.duration_since(std::mem::replace(&mut last, now)).as_nanos() as u64
    });
    // A clock that stood still all the time is coarser than anything that could be measured here.
    steps.by_ref().filter(|step| *step > 0).min().unwrap_or(u64::MAX)
}

/// The soft limit of a process.
fn descriptors_of(pid: u32) -> Option<u64> {
    descriptors_in(&text(&format!("/proc/{pid}/limits"))?)
}

fn descriptors_in(limits: &str) -> Option<u64> {
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let soft = line.split_whitespace().next()?;
    if soft == "unlimited" { Some(u64::MAX) } else { soft.parse().ok() }
}

/// A while of the machine's life.
struct Watched {
    seconds: f64,
    steal_s: f64,
    others_s: f64,
    wall_clock_moved_s: f64,
    /// CPU seconds by process, the expected ones left out.
    by_process: Vec<(String, f64)>,
}

impl Watched {
    fn over(lasting: Duration, expected: &[u32]) -> Watched {
        let (began, wall_clock) = (Instant::now(), SystemTime::now());
        let (machine, processes) = (proc::machine().unwrap_or_default(), cpu_by_process());
        std::thread::sleep(lasting);
        let (after, processes_after) = (proc::machine().unwrap_or_default(), cpu_by_process());
        let wall_clock_s = match wall_clock.elapsed() {
            Ok(forward) => forward.as_secs_f64(),
            Err(back) => -back.duration().as_secs_f64(),
        };
        let wall_clock_moved_s = (wall_clock_s - began.elapsed().as_secs_f64()).abs();
        let spent = |pid: &u32| {
            let before = processes.get(pid).map_or(0.0, |(_, cpu_s)| *cpu_s);
            processes_after.get(pid).map_or(0.0, |(_, cpu_s)| cpu_s - before)
        };
        let is_expected = |pid: &u32| expected.contains(pid) || *pid == std::process::id();
        let expected_s: f64 = processes_after.keys().filter(|pid| is_expected(pid)).map(spent).sum();
        let others = processes_after.iter().filter(|(pid, _)| !is_expected(pid));
        Watched {
            seconds: began.elapsed().as_secs_f64().max(1e-3),
            steal_s: after.steal_s - machine.steal_s,
            others_s: after.busy_s - machine.busy_s - expected_s,
            wall_clock_moved_s,
            by_process: others.map(|(pid, (name, _))| (name.clone(), spent(pid))).collect(),
        }
    }

    fn busiest(&self, capacity_s: f64) -> Vec<String> {
        let mut busy: Vec<_> =
            self.by_process.iter().filter(|(_, spent_s)| *spent_s > 0.01 * capacity_s).collect();
        busy.sort_by(|a, b| b.1.total_cmp(&a.1));
        busy.iter()
            .take(3)
            .map(|(name, spent_s)| format!("{name} {:.0} %", spent_s / capacity_s * 100.0))
            .collect()
    }
}

fn cpu_by_process() -> HashMap<u32, (String, f64)> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| {
        let name = text(&format!("/proc/{pid}/comm"))?;
        Some((pid, (name, proc::cpu_s(pid)?)))
    })
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_processs_descriptors_are_found_among_its_limits() {
        let limits = "Limit      Soft Limit  Hard Limit  Units\nMax processes  1 2 processes\nMax open files  1024  4096  files\n";
        assert_eq!(descriptors_in(limits), Some(1024));
        assert_eq!(descriptors_in("Max open files  unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(descriptors_in(""), None);
        assert!(descriptors_of(std::process::id()) > Some(10));
    }
}
