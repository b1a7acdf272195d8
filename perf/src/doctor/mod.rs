//! `gochat-perf doctor`: what on this machine would spoil a figure. Its findings stand in every report.

mod facts;
mod hindsight;

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::error::LoadError;
use crate::exit::Exit;
use facts::Facts;
pub(crate) use hindsight::look_back;

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(crate) struct Finding {
    pub(crate) check: &'static str,
    pub(crate) level: Level,
    /// What was found, and for a warning what to do.
    pub(crate) text: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Level {
    Fine,
    /// Figures of this machine are not those of another.
    Note,
    /// A figure taken now would be wrong.
    Warning,
}

#[derive(Debug, Args)]
pub(crate) struct Doctor {
    /// How long the machine is watched for steal time and neighbours
    #[arg(long, default_value_t = 2.0)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

impl Doctor {
    /// 0 with notes and warnings too: they are for whoever reads them.
    ///
    /// # Errors
    /// [`LoadError::BadConfig`]: no time to watch.
    pub(crate) fn run(&self) -> Result<Exit, LoadError> {
        if !(0.0..=3600.0).contains(&self.seconds) {
            return Err(LoadError::BadConfig("--seconds must be between 0 and 3600".to_owned()));
        }
        let findings = look(Duration::from_secs_f64(self.seconds), &[]);
        if self.json {
            println!("{}", serde_json::to_string_pretty(&findings).unwrap_or_default());
        } else {
            findings.iter().for_each(|finding| {
                println!("{:<8} {:<12} {}", finding.level.name(), finding.check, finding.text)
            });
        }
        Ok(Exit::Ok)
    }
}

impl Level {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Level::Fine => "fine",
            Level::Note => "note",
            Level::Warning => "WARNING",
        }
    }
}

/// Watches the machine for `lasting`. `expected`: processes that may be busy, this one left out.
pub(crate) fn look(lasting: Duration, expected: &[u32]) -> Vec<Finding> {
    judge(&Facts::gather(lasting, expected))
}

fn judge(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |check, level, text: String| findings.push(Finding { check, level, text });
    let level = |is_bad: bool, bad: Level| if is_bad { bad } else { Level::Fine };

    let optimised =
        if facts.is_debug_build { "without optimisation: build with --release" } else { "optimised" };
    say("build", level(facts.is_debug_build, Level::Warning), format!("this program was built {optimised}"));
    say(
        "cores",
        level(facts.cores < 4, Level::Note),
        if facts.cores < 4 {
            format!(
                "{} cores, which server and load share: the server has what the clients leave",
                facts.cores
            )
        } else {
            format!("{} cores", facts.cores)
        },
    );
    let few = facts.descriptors_max < 20_000;
    say(
        "descriptors",
        level(few, Level::Warning),
        format!(
            "{} descriptors a process{}",
            facts.descriptors_max,
            if few { ": each session needs one; raise the hard limit (ulimit -Hn)" } else { "" }
        ),
    );
    if let Some((low, high)) = facts.ports {
        let count = high.saturating_sub(low) + 1;
        say(
            "ports",
            level(count < 20_000, Level::Note),
            format!(
                "{count} local ports an address ({low}-{high}); clients of a server on loopback come from many addresses"
            ),
        );
    }
    if let Some(locked) = facts.memlock_bytes.filter(|bytes| *bytes < 64 << 20) {
        say(
            "memlock",
            Level::Note,
            format!("{} KiB may be locked: kernels before 5.12 charge io_uring's rings to it", locked / 1024),
        );
    } else {
        say("memlock", Level::Fine, "at least 64 MiB may be locked".to_owned());
    }
    match facts.io_uring_disabled {
        Some(0) => say("io_uring", Level::Fine, "allowed".to_owned()),
        Some(_) => say(
            "io_uring",
            Level::Warning,
            "switched off (kernel.io_uring_disabled): the server falls back to epoll".to_owned(),
        ),
        None => say(
            "io_uring",
            Level::Note,
            "the kernel doesn't tell whether it is allowed (before 6.6)".to_owned(),
        ),
    }
    judge_clock(facts, &mut findings);
    judge_server(facts, &mut findings);
    judge_governor(facts, &mut findings);
    judge_neighbours(facts, &mut findings);
    findings
}

fn judge_clock(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut say = |check, level, text: String| findings.push(Finding { check, level, text });
    let level = |is_bad: bool, bad: Level| if is_bad { bad } else { Level::Fine };
    let slow_clock = facts.clock_read_ns > 200.0;
    say(
        "clock",
        level(slow_clock, Level::Warning),
        format!(
            "{}, {:.0} ns a look{}",
            facts.clocksource,
            facts.clock_read_ns,
            if slow_clock { ": every latency pays it; use tsc or kvm-clock" } else { "" }
        ),
    );
    let coarse = facts.clock_step_ns > 1_000;
    say(
        "resolution",
        level(coarse, Level::Warning),
        if coarse {
            format!("the clock steps by {} ns: latencies can't be told finer", facts.clock_step_ns)
        } else {
            format!("the clock steps by {} ns at most", facts.clock_step_ns)
        },
    );
    let moved = facts.wall_clock_moved_ms;
    say(
        "wall clock",
        level(moved > WALL_CLOCK_MOVE_MS, Level::Note),
        if moved > WALL_CLOCK_MOVE_MS {
            format!(
                "it was set by {moved:.1} ms while the machine was watched (NTP?): latencies don't use it, times of day in reports and logs do"
            )
        } else {
            "not set while the machine was watched".to_owned()
        },
    );
}

/// What slewing and two looks that are not at one moment make up.
const WALL_CLOCK_MOVE_MS: f64 = 5.0;

fn judge_server(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut say = |check, level, text: String| findings.push(Finding { check, level, text });
    let level = |is_bad: bool, bad: Level| if is_bad { bad } else { Level::Fine };
    if let Some(waiting) = facts.backlog_max {
        let short = waiting < 1_024;
        let what = if short { ": a storm of connects overflows it; raise net.core.somaxconn" } else { "" };
        say(
            "backlog",
            level(short, Level::Note),
            format!("{waiting} connections may wait to be accepted{what}"),
        );
    }
    if let Some(descriptors) = facts.server_descriptors {
        let few = descriptors < 20_000;
        let what =
            if few { ": more connections than that fail; start it with a higher ulimit -n" } else { "" };
        say(
            "server",
            level(few, Level::Warning),
            format!("the server may open {descriptors} descriptors{what}"),
        );
    }
}

fn judge_governor(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut say = |check, level, text: String| findings.push(Finding { check, level, text });
    match facts.governor.as_deref() {
        Some("performance") => say("governor", Level::Fine, "performance".to_owned()),
        Some(other) => say(
            "governor",
            Level::Warning,
            format!("{other}: the clock rate follows the load; set performance"),
        ),
        None => say(
            "governor",
            Level::Note,
            "not visible: a virtual machine, whose host sets the clock rate".to_owned(),
        ),
    }
}

fn judge_neighbours(facts: &Facts, findings: &mut Vec<Finding>) {
    let mut say = |check, level, text: String| findings.push(Finding { check, level, text });
    let level = |is_bad: bool, bad: Level| if is_bad { bad } else { Level::Fine };
    let steal = facts.steal_share * 100.0;
    say(
        "steal",
        level(steal > 1.0, Level::Warning),
        format!(
            "the host gave {steal:.1} % of the CPU time to others in {:.1} s{}",
            facts.watched_s,
            if steal > 1.0 { ": measure when it doesn't, or in more rounds" } else { "" }
        ),
    );
    let busy = facts.others_share * 100.0;
    let names =
        if facts.busiest.is_empty() { String::new() } else { format!(" ({})", facts.busiest.join(", ")) };
    say(
        "neighbours",
        level(busy > 5.0, Level::Warning),
        format!(
            "others used {busy:.0} % of the machine{names}{}",
            if busy > 5.0 { ": end them before measuring" } else { "" }
        ),
    );
    if let Some(bytes) = facts.memory_available_bytes {
        let short = bytes < 1 << 30;
        say(
            "memory",
            level(short, Level::Warning),
            format!(
                "{:.1} GiB available{}",
                bytes as f64 / f64::from(1 << 30),
                if short { ": what swaps or is killed is no figure" } else { "" }
            ),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn quiet() -> Facts {
        Facts {
            is_debug_build: false,
            cores: 8,
            descriptors_max: 1 << 20,
            ports: Some((32_768, 60_999)),
            memlock_bytes: None,
            io_uring_disabled: Some(0),
            clocksource: "tsc".to_owned(),
            clock_read_ns: 25.0,
            clock_step_ns: 20,
            wall_clock_moved_ms: 0.1,
            backlog_max: Some(4_096),
            server_descriptors: Some(1 << 20),
            governor: Some("performance".to_owned()),
            watched_s: 2.0,
            steal_share: 0.0,
            others_share: 0.01,
            busiest: Vec::new(),
            memory_available_bytes: Some(8 << 30),
        }
    }

    #[test]
    fn a_quiet_machine_is_fine() {
        let findings = judge(&quiet());
        assert!(findings.iter().all(|finding| finding.level == Level::Fine), "{findings:?}");
    }

    #[track_caller]
    fn finds(check: &str, level: Level, spoil: impl FnOnce(&mut Facts)) {
        let mut facts = quiet();
        spoil(&mut facts);
        let wrong: Vec<Finding> =
            judge(&facts).into_iter().filter(|finding| finding.level != Level::Fine).collect();
        assert_eq!(wrong.len(), 1, "{wrong:?}");
        assert_eq!((wrong[0].check, wrong[0].level), (check, level), "{wrong:?}");
    }

    #[test]
    fn each_trouble_is_named() {
        finds("build", Level::Warning, |facts| facts.is_debug_build = true);
        finds("cores", Level::Note, |facts| facts.cores = 2);
        finds("descriptors", Level::Warning, |facts| facts.descriptors_max = 1024);
        finds("ports", Level::Note, |facts| facts.ports = Some((60_000, 60_999)));
        finds("memlock", Level::Note, |facts| facts.memlock_bytes = Some(64 << 10));
        finds("io_uring", Level::Warning, |facts| facts.io_uring_disabled = Some(2));
        finds("io_uring", Level::Note, |facts| facts.io_uring_disabled = None);
        finds("clock", Level::Warning, |facts| facts.clock_read_ns = 900.0);
        finds("resolution", Level::Warning, |facts| facts.clock_step_ns = 1_000_000);
        finds("wall clock", Level::Note, |facts| facts.wall_clock_moved_ms = 40.0);
        finds("backlog", Level::Note, |facts| facts.backlog_max = Some(128));
        finds("server", Level::Warning, |facts| facts.server_descriptors = Some(1_024));
        finds("governor", Level::Warning, |facts| facts.governor = Some("powersave".to_owned()));
        finds("governor", Level::Note, |facts| facts.governor = None);
        finds("steal", Level::Warning, |facts| facts.steal_share = 0.05);
        finds("neighbours", Level::Warning, |facts| facts.others_share = 0.5);
        finds("memory", Level::Warning, |facts| facts.memory_available_bytes = Some(1 << 20));
    }

    #[test]
    fn this_machine_can_be_looked_at() {
        let checks: Vec<&str> =
            look(Duration::from_millis(20), &[]).iter().map(|finding| finding.check).collect();
        for check in [
            "build",
            "cores",
            "descriptors",
            "memlock",
            "io_uring",
            "clock",
            "governor",
            "steal",
            "neighbours",
        ] {
            assert!(checks.contains(&check), "{check} is not among {checks:?}");
        }
    }
}
