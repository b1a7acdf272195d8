//! What the server costs: read from /proc where it runs on this machine, else from its admin port.

mod find;
mod growth;
pub(crate) mod proc;
mod syscalls;
mod watch;

pub(crate) use growth::{CONNECTIONS_MIN, Growth, Mark};
pub(crate) use syscalls::Syscalls;
pub(crate) use watch::{SAMPLES_MAX, Sample, Watch, thin};

use crate::config::Target;
use crate::error::LoadError;
use crate::rest::Rest;

/// The server at one moment: the sum of its processes.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct ServerUse {
    /// User and system time since its start.
    pub(crate) cpu_s: f64,
    pub(crate) rss_bytes: u64,
    /// `None`: not readable from here.
    pub(crate) switches: Option<u64>,
}

/// Where the figures come from.
#[derive(Debug)]
pub(crate) struct ServerMeter {
    source: Source,
}

#[derive(Debug)]
enum Source {
    Processes(Vec<u32>),
    Admin(Rest),
}

impl ServerMeter {
    /// `pids`, or else the process behind the admin port, or else the one that listens on the target's port.
    /// `None`: no admin port was given, and nobody on this machine listens there.
    ///
    /// # Errors
    /// [`LoadError::BadUrl`] · [`LoadError::Rest`]: an admin port was given, and neither it nor /proc has the figures ·
    /// [`LoadError::BadConfig`]: a pid that can't be read.
    pub(crate) fn find(
        pids: &[u32],
        admin_url: Option<&str>,
        target: &Target,
    ) -> Result<Option<ServerMeter>, LoadError> {
        let of = |pids: Vec<u32>| ServerMeter { source: Source::Processes(pids) };
        if let Some(gone) = pids.iter().find(|pid| proc::process(&pid.to_string()).is_none()) {
            return Err(LoadError::BadConfig(format!(
                "--pid {gone}: there is no such process, or it is not ours to read"
            )));
        }
        if !pids.is_empty() {
            return Ok(Some(of(pids.to_vec())));
        }
        let Some(admin) = admin_url.map(Target::parse).transpose()? else {
            return Ok(find::listener(target.addr).map(|pid| of(vec![pid])));
        };
        let is_local = admin.addr.ip().is_loopback();
        let by_port = find::listener(admin.addr).filter(|pid| proc::process(&pid.to_string()).is_some());
        let mut rest = Rest::new(admin);
        let text = metrics(&mut rest)?;
        let named = metric(&text, "process_pid").filter(|_| is_local).map(|pid| pid as u32);
        let local = by_port.or(named.filter(|pid| proc::process(&pid.to_string()).is_some()));
        let mut meter = local.map_or(ServerMeter { source: Source::Admin(rest) }, |pid| of(vec![pid]));
        meter.read()?;
        Ok(Some(meter))
    }

    /// The server's processes on this machine; empty: it is on another one.
    pub(crate) fn pids(&self) -> &[u32] {
        match &self.source {
            Source::Processes(pids) => pids,
            Source::Admin(_) => &[],
        }
    }

    /// # Errors
    /// [`LoadError::Rest`]: no answer, or one without the figures. [`LoadError::ServerGone`]: a process has ended.
    pub(crate) fn read(&mut self) -> Result<ServerUse, LoadError> {
        match &mut self.source {
            Source::Processes(pids) => read_processes(pids),
            Source::Admin(rest) => read_admin(rest),
        }
    }
}

fn read_processes(pids: &[u32]) -> Result<ServerUse, LoadError> {
    let mut sum = ServerUse { switches: Some(0), ..ServerUse::default() };
    for pid in pids {
        let now = proc::process(&pid.to_string()).ok_or(LoadError::ServerGone { pid: *pid })?;
        sum.cpu_s += now.cpu_s();
        sum.rss_bytes += now.rss_bytes;
        let switches = now.voluntary_switches.zip(now.involuntary_switches);
        sum.switches = sum.switches.zip(switches).map(|(sum, (slept, pushed))| sum + slept + pushed);
    }
    Ok(sum)
}

fn metrics(rest: &mut Rest) -> Result<String, LoadError> {
    let answer = rest.call("GET", "/metrics", None)?;
    Ok(String::from_utf8_lossy(&answer.body).into_owned())
}

fn read_admin(rest: &mut Rest) -> Result<ServerUse, LoadError> {
    let text = metrics(rest)?;
    match (metric(&text, "process_cpu_seconds_total"), metric(&text, "process_resident_memory_bytes")) {
        (Some(cpu_s), Some(rss)) => Ok(ServerUse { cpu_s, rss_bytes: rss as u64, switches: None }),
        _ => Err(LoadError::Rest {
            call: "GET /metrics".to_owned(),
            why: "no process_cpu_seconds_total and process_resident_memory_bytes, nor a process on this machine"
                .to_owned(),
        }),
    }
}

/// This program's own CPU time, user and system, in steps of 10 ms.
pub(crate) fn own_cpu_s() -> f64 {
    proc::process("self").map_or(0.0, |own| own.cpu_s())
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
    fn a_server_is_found_by_pid_or_port() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let target = Target::parse(&socket.local_addr().unwrap().to_string()).unwrap();
        let own = std::process::id();
        for pids in [vec![own], vec![]] {
            let mut meter = ServerMeter::find(&pids, None, &target).unwrap().unwrap();
            assert_eq!(meter.pids(), [own]);
            assert!(meter.read().unwrap().rss_bytes > 100_000);
        }
        drop(socket);
        assert!(ServerMeter::find(&[], None, &target).unwrap().is_none());
        assert!(ServerMeter::find(&[u32::MAX], None, &target).is_err());
    }
}
