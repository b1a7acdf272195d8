//! What spoilt a run while it went on: the look beforehand can't know.

use super::{Finding, Level};
use crate::meter::Sample;
use crate::meter::proc::ProcessUse;

/// Shares of the CPU time of all cores above which a run's figures are not its own.
const STEAL_SHARE_MAX: f64 = 0.01;
const OTHERS_SHARE_MAX: f64 = 0.05;

/// Judges a run by its first and last look. Nothing to tell from: no findings.
pub(crate) fn look_back(samples: &[Sample]) -> Vec<Finding> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    match samples {
        [first, .., last] => judge(first, last, cores as f64).unwrap_or_default(),
        _ => Vec::new(),
    }
}

fn judge(first: &Sample, last: &Sample, cores: f64) -> Option<Vec<Finding>> {
    let capacity_s = (last.at_s - first.at_s) * cores;
    let (before, after) = (first.machine?, last.machine?);
    let steal = (after.steal_s - before.steal_s) / capacity_s;
    // Interrupts are nobody's, and mostly the load's own packets.
    let busy_s = after.busy_s - before.busy_s - (after.interrupt_s - before.interrupt_s);
    let others = (busy_s - ours_s(last)? + ours_s(first)?) / capacity_s;
    let mut findings = Vec::new();
    let mut say = |check, is_bad, fine: String, bad: &str| {
        let level = if is_bad { Level::Warning } else { Level::Fine };
        let text = if is_bad { fine + bad } else { fine };
        findings.push(Finding { check, level, text });
    };
    say(
        "steal meanwhile",
        steal > STEAL_SHARE_MAX,
        format!("the host gave {:.1} % of the CPU time to others during the run", steal * 100.0),
        ": run it again",
    );
    say(
        "neighbours meanwhile",
        others > OTHERS_SHARE_MAX,
        format!("others used {:.0} % of the machine during the run", others.max(0.0) * 100.0),
        ": end them, and run it again",
    );
    Some(findings)
}

/// CPU time of the server and of this program. `None`: a process of the server has ended.
fn ours_s(sample: &Sample) -> Option<f64> {
    sample.server.iter().chain([&sample.client]).map(|process| process.as_ref().map(ProcessUse::cpu_s)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::proc::MachineUse;

    fn sample(at_s: f64, ours_s: f64, machine: MachineUse) -> Sample {
        let process = ProcessUse {
            user_s: ours_s,
            system_s: 0.0,
            rss_bytes: 0,
            threads: 1,
            voluntary_switches: None,
            involuntary_switches: None,
        };
        Sample {
            at_s,
            server: vec![Some(process)],
            server_syscalls: vec![],
            client: Some(process),
            machine: Some(machine),
        }
    }

    #[track_caller]
    fn warns(busy_s: f64, steal_s: f64, expect: &[&str]) {
        let begun = sample(1.0, 0.0, MachineUse::default());
        let machine = MachineUse { busy_s, interrupt_s: 3.0, steal_s, ..MachineUse::default() };
        let findings = judge(&begun, &sample(11.0, 4.0, machine), 2.0).unwrap();
        let warnings: Vec<&str> = findings
            .iter()
            .filter(|finding| finding.level == Level::Warning)
            .map(|finding| finding.check)
            .collect();
        assert_eq!((findings.len(), &warnings[..]), (2, expect), "{findings:?}");
    }

    /// Ten seconds of two cores, of which server and client used four each and interrupts three.
    #[test]
    fn neighbours_and_steal_during_the_run_are_told() {
        warns(11.5, 0.1, &[]);
        warns(14.0, 0.1, &["neighbours meanwhile"]);
        warns(11.5, 1.0, &["steal meanwhile"]);
        assert!(look_back(&[]).is_empty());
    }

    #[test]
    fn a_server_that_ended_leaves_nothing_to_judge() {
        let mut last = sample(11.0, 4.0, MachineUse::default());
        last.server[0] = None;
        assert!(look_back(&[sample(1.0, 0.0, MachineUse::default()), last]).is_empty());
    }
}
