//! What the server costs, read from its admin port and, when it runs on this machine, from /proc.

use std::fs;

use crate::config::Target;
use crate::error::LoadError;
use crate::rest::Rest;

/// The server's process at one moment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ServerUse {
    /// User and system time since its start.
    pub cpu_s: f64,
    pub rss_bytes: u64,
}

/// Asks an admin port for `/metrics`.
#[derive(Debug)]
pub struct ServerMeter {
    rest: Rest,
    is_local: bool,
}

impl ServerMeter {
    /// # Errors
    /// [`LoadError::BadUrl`].
    pub fn new(admin_url: &str) -> Result<ServerMeter, LoadError> {
        let target = Target::parse(admin_url)?;
        Ok(ServerMeter { is_local: target.addr.ip().is_loopback(), rest: Rest::new(target) })
    }

    /// The metrics' own figures; what they leave out is taken from /proc by `process_pid`.
    ///
    /// # Errors
    /// [`LoadError::Rest`]: no answer, or neither source has the figures.
    pub fn read(&mut self) -> Result<ServerUse, LoadError> {
        let answer = self.rest.call("GET", "/metrics", None)?;
        let text = String::from_utf8_lossy(&answer.body);
        let pid = metric(&text, "process_pid").filter(|_| self.is_local).map(|pid| pid as u32);
        let cpu_s = metric(&text, "process_cpu_seconds_total").or_else(|| proc_cpu_s(&pid?.to_string()));
        let rss_bytes = metric(&text, "process_resident_memory_bytes")
            .map(|bytes| bytes as u64)
            .or_else(|| proc_rss_bytes(&pid?.to_string()));
        match (cpu_s, rss_bytes) {
            (Some(cpu_s), Some(rss_bytes)) => Ok(ServerUse { cpu_s, rss_bytes }),
            _ => Err(LoadError::Rest {
                call: "GET /metrics".to_owned(),
                why: format!("status {}, without the process's CPU time and memory", answer.status),
            }),
        }
    }
}

/// This program's own CPU time, user and system, in steps of 10 ms.
pub fn own_cpu_s() -> f64 {
    proc_cpu_s("self").unwrap_or(0.0)
}

/// The sum over all label sets of one metric in the Prometheus text format.
fn metric(text: &str, name: &str) -> Option<f64> {
    let values = text.lines().filter_map(|line| {
        let rest = line.strip_prefix(name)?;
        let value = match rest.strip_prefix('{') {
            Some(labelled) => labelled.rsplit_once('}')?.1,
            None => rest.strip_prefix(' ')?,
        };
        value.split_whitespace().next()?.parse::<f64>().ok()
    });
    values.reduce(|sum, value| sum + value)
}

/// Clock ticks a second in /proc/<pid>/stat: USER_HZ, 100 on every architecture that we build for.
const TICKS_PER_S: f64 = 100.0;

fn proc_cpu_s(pid: &str) -> Option<f64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name in parentheses may hold blanks: count the fields after it. utime and stime are 14 and 15.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let ticks = fields.next()?.parse::<f64>().ok()? + fields.next()?.parse::<f64>().ok()?;
    Some(ticks / TICKS_PER_S)
}

fn proc_rss_bytes(pid: &str) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.split_whitespace().next()?.parse::<u64>().ok()? * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_found_by_their_whole_name() {
        let text = "# HELP process_pid The pid.\n# TYPE process_pid gauge\nprocess_pid 77\n\
                    process_pid_of_parent 3\nqueue{shard=\"0\"} 4\nqueue{shard=\"1\"} 5.5 1700000000\n# EOF\n";
        assert_eq!(metric(text, "process_pid"), Some(77.0));
        assert_eq!(metric(text, "queue"), Some(9.5));
        assert_eq!(metric(text, "nothing"), None);
    }

    #[test]
    fn this_process_can_be_read() {
        assert!(own_cpu_s() >= 0.0 && proc_cpu_s("self").is_some());
        assert!(proc_rss_bytes("self").is_some_and(|bytes| bytes > 100_000));
    }
}
