//! What Linux tells of processes and of the machine. Parsing is pure; a file that is missing or reads otherwise is `None`.

use std::fs;

use serde::{Deserialize, Serialize};

/// A process since its start.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub(crate) struct ProcessUse {
    pub(crate) user_s: f64,
    pub(crate) system_s: f64,
    pub(crate) rss_bytes: u64,
    pub(crate) threads: u64,
    /// Of the threads that live: the process slept. `None`: not readable.
    pub(crate) voluntary_switches: Option<u64>,
    /// Of the threads that live: another one was given the core.
    pub(crate) involuntary_switches: Option<u64>,
}

impl ProcessUse {
    pub(crate) fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }

    /// The two together.
    pub(crate) fn plus(self, other: ProcessUse) -> ProcessUse {
        let both = |one: Option<u64>, other: Option<u64>| Some(one? + other?);
        ProcessUse {
            user_s: self.user_s + other.user_s,
            system_s: self.system_s + other.system_s,
            rss_bytes: self.rss_bytes + other.rss_bytes,
            threads: self.threads + other.threads,
            voluntary_switches: both(self.voluntary_switches, other.voluntary_switches),
            involuntary_switches: both(self.involuntary_switches, other.involuntary_switches),
        }
    }
}

/// The machine since its start, and its memory now.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize)]
pub(crate) struct MachineUse {
    /// CPU time of all cores that was not idle.
    pub(crate) busy_s: f64,
    /// Of it, time of interrupts, which belongs to no process: on loopback much of TCP's work.
    pub(crate) interrupt_s: f64,
    /// CPU time that the hypervisor gave to others.
    pub(crate) steal_s: f64,
    /// The kernel's small objects: sockets, epoll entries, dentries, …
    pub(crate) slab_bytes: u64,
    /// What the kernel keeps for processes: the slab, stacks of threads and page tables.
    pub(crate) kernel_bytes: u64,
    /// What waits in the buffers of TCP sockets.
    pub(crate) tcp_buffer_bytes: u64,
    pub(crate) tcp_sockets: u64,
}

/// Clock ticks a second in /proc: USER_HZ, 100 on every architecture that we build for.
const TICKS_PER_S: f64 = 100.0;
const PAGE_BYTES: u64 = 4096;

/// `pid`, or "self".
pub(crate) fn process(pid: &str) -> Option<ProcessUse> {
    let (user_s, system_s, threads) = cpu_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let switches = switches_of_threads(pid);
    Some(ProcessUse {
        user_s,
        system_s,
        threads,
        rss_bytes: field(&status, "VmRSS:")? * 1024,
        voluntary_switches: switches.map(|(voluntary, _)| voluntary),
        involuntary_switches: switches.map(|(_, involuntary)| involuntary),
    })
}

/// User and system time of a process; cheaper than all of [`process`].
pub(crate) fn cpu_s(pid: u32) -> Option<f64> {
    let (user_s, system_s, _) = cpu_of(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?;
    Some(user_s + system_s)
}

/// Resident bytes, counted page by page, which takes the kernel about a millisecond for each 100 MiB. The count in
/// [`process`] costs nothing, and on kernels from 6.2 on it may be off by some MiB for each core, which no slope can bear.
/// `None`: not ours to read.
pub(crate) fn counted_rss_bytes(pid: u32) -> Option<u64> {
    Some(field(&fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?, "Rss:")? * 1024)
}

fn switches_of_threads(pid: &str) -> Option<(u64, u64)> {
    let mut sum = (0, 0);
    for thread in fs::read_dir(format!("/proc/{pid}/task")).ok()? {
        // A thread may end between the listing and the reading.
        let Ok(status) = fs::read_to_string(thread.ok()?.path().join("status")) else { continue };
        sum.0 += field(&status, "voluntary_ctxt_switches:")?;
        sum.1 += field(&status, "nonvoluntary_ctxt_switches:")?;
    }
    Some(sum)
}

pub(crate) fn machine() -> Option<MachineUse> {
    let (busy_s, interrupt_s, steal_s) = machine_cpu(&fs::read_to_string("/proc/stat").ok()?)?;
    let memory = fs::read_to_string("/proc/meminfo").ok()?;
    let kib = |name| field(&memory, name);
    let (slab_kib, stacks_kib, tables_kib) = (kib("Slab:")?, kib("KernelStack:")?, kib("PageTables:")?);
    let (tcp_sockets, tcp_pages) = tcp(&fs::read_to_string("/proc/net/sockstat").ok()?)?;
    Some(MachineUse {
        busy_s,
        interrupt_s,
        steal_s,
        slab_bytes: slab_kib * 1024,
        kernel_bytes: (slab_kib + stacks_kib + tables_kib) * 1024,
        tcp_buffer_bytes: tcp_pages * PAGE_BYTES,
        tcp_sockets,
    })
}

/// User and system time, and the number of threads, of a /proc/PID/stat.
fn cpu_of(stat: &str) -> Option<(f64, f64, u64)> {
    // The name in parentheses may hold blanks: count the fields after it. utime and stime are 14 and 15, num_threads is 20.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let seconds = |at: usize| Some(fields.get(at)?.parse::<f64>().ok()? / TICKS_PER_S);
    Some((seconds(11)?, seconds(12)?, fields.get(17)?.parse().ok()?))
}

/// The first number of the line that begins with `name`.
fn field(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Busy, interrupted (part of busy) and stolen seconds of a /proc/stat.
fn machine_cpu(stat: &str) -> Option<(f64, f64, f64)> {
    let line = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
    let ticks: Vec<f64> = line.split_whitespace().map_while(|word| word.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal; what guests used is part of user and nice.
    let [user, nice, system, _, _, irq, softirq, steal] = *ticks.first_chunk()?;
    let interrupts = irq + softirq;
    Some(((user + nice + system + interrupts) / TICKS_PER_S, interrupts / TICKS_PER_S, steal / TICKS_PER_S))
}

/// Sockets and pages of a /proc/net/sockstat.
fn tcp(sockstat: &str) -> Option<(u64, u64)> {
    let line = sockstat.lines().find_map(|line| line.strip_prefix("TCP: "))?;
    let words: Vec<&str> = line.split_whitespace().collect();
    let value = |name: &str| {
        let at = words.iter().position(|word| *word == name)?;
        words.get(at + 1)?.parse().ok()
    };
    Some((value("inuse")?, value("mem")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_is_read() {
        let stat = "77 (a (b) c) S 1 77 77 0 -1 4194560 1 2 3 4 250 50 7 8 20 0 9 0 100 1 2 3";
        assert_eq!(cpu_of(stat), Some((2.5, 0.5, 9)));
        assert_eq!(cpu_of("77 (cut"), None);
        assert_eq!(field("VmPeak:\t9 kB\nVmRSS:\t   12 kB\n", "VmRSS:"), Some(12));
        let own = process("self").unwrap();
        assert!(own.rss_bytes > 100_000 && own.threads > 0 && own.voluntary_switches.is_some(), "{own:?}");
        assert!(counted_rss_bytes(std::process::id()) > Some(100_000));
        assert_eq!(process("0"), None);
    }

    #[test]
    fn the_machine_is_read() {
        let stat = "cpu  100 200 300 9999 50 0 100 400 70 0\ncpu0 1 2 3 4\n";
        assert_eq!(machine_cpu(stat), Some((7.0, 1.0, 4.0)));
        let sockstat =
            "sockets: used 86\nTCP: inuse 45 orphan 0 tw 733 alloc 46 mem 196\nUDP: inuse 0 mem 0\n";
        assert_eq!(tcp(sockstat), Some((45, 196)));
        assert!(machine().is_some_and(|machine| machine.busy_s > 0.0 && machine.slab_bytes > 0));
        assert!(machine().is_some_and(|machine| machine.kernel_bytes > machine.slab_bytes));
    }
}
