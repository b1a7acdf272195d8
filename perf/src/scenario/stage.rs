//! What a scenario runs on: the server that is measured, and what is written down second by second.

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use super::options::Options;
use super::say;
use crate::agent::{AgentReport, Crew, Parts};
use crate::config::Target;
use crate::doctor::{self, Finding, Level};
use crate::error::LoadError;
use crate::latency::Latency;
use crate::meter::{Sample, ServerMeter, Syscalls, Watch, own_cpu_s};
use crate::report::{Interval, RawLog, SendingWindow, WindowStart};

/// How long the machine is watched before a run.
const BEFOREHAND: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(crate) struct Stage {
    pub(crate) target: Target,
    pub(super) meter: Option<ServerMeter>,
    /// Those who make the load; `None`: this process does.
    pub(super) crew: Option<Arc<Crew>>,
    began: Instant,
    watch: Option<Watch>,
    syscalls: Option<Arc<Syscalls>>,
    doctor: Vec<Finding>,
    intervals: Vec<Interval>,
    /// The server's memory at the end of each interval: seconds since the run began, bytes.
    memory: Vec<(f64, u64)>,
    raw: Option<RawLog>,
    /// The last interval's end, and the operations done by then.
    last: (Duration, u64),
}

/// What was written down.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) seconds: f64,
    pub(super) intervals: Vec<Interval>,
    pub(super) server_pids: Vec<u32>,
    pub(super) samples: Vec<Sample>,
    pub(super) doctor: Vec<Finding>,
    pub(super) agents: Vec<AgentReport>,
}

impl Stage {
    pub(super) fn set(
        options: &Options,
        parts: Option<&Parts>,
        started: SystemTime,
    ) -> Result<Stage, LoadError> {
        let target = Target::parse(&options.url)?;
        let meter = ServerMeter::find(&options.pid, options.admin.as_deref(), &target)?;
        let pids = meter.as_ref().map_or(&[][..], ServerMeter::pids);
        let mut doctor = doctor::look(BEFOREHAND, pids);
        doctor.iter().for_each(warn);
        let syscalls = count_syscalls(options, pids, &mut doctor);
        let crew = parts.map(Crew::gather).transpose()?.flatten();
        let client_pids = crew.as_ref().map_or(Vec::new(), Crew::pids);
        let began = Instant::now();
        Ok(Stage {
            watch: Watch::start(pids, &client_pids, syscalls.clone(), began),
            syscalls,
            crew: crew.map(Arc::new),
            doctor,
            raw: options.hlog.as_deref().map(|path| RawLog::create(path, started)).transpose()?,
            target,
            meter,
            began,
            intervals: Vec::new(),
            memory: Vec::new(),
            last: (Duration::ZERO, 0),
        })
    }

    pub(super) fn begin_window(&mut self) -> Result<WindowStart, LoadError> {
        let client_cpu_s = self.client_cpu_s()?;
        WindowStart::now(self.meter.as_mut(), client_cpu_s)
    }

    pub(super) fn end_window(&mut self, start: &WindowStart, done: u64) -> Result<SendingWindow, LoadError> {
        let client_cpu_s = self.client_cpu_s()?;
        let mut window = start.end(self.meter.as_mut(), client_cpu_s, done)?;
        let counted = self.syscalls.as_deref().and_then(|calls| calls.per_s(start.began, Instant::now()));
        window.server_syscalls = counted.map(|per_s| per_s * window.seconds);
        Ok(window)
    }

    /// Of this program, in all its processes.
    fn client_cpu_s(&self) -> Result<f64, LoadError> {
        let at_s = self.began.elapsed().as_secs_f64();
        let crew_s = self.crew.as_ref().map_or(Ok(0.0), |crew| crew.cpu_s(at_s))?;
        Ok(own_cpu_s() + crew_s)
    }

    /// Waits until the first operation is due, at `due`: the window and its first interval begin then.
    pub(super) fn begin_intervals_at(&mut self, start: &mut WindowStart, due: Instant) {
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        start.began = due;
        self.last = (due.saturating_duration_since(self.began), 0);
    }

    /// An interval ends: `done` operations so far, and what was measured in it.
    pub(super) fn end_interval(&mut self, done: u64, fresh: &Latency) -> Result<Interval, LoadError> {
        let at = self.began.elapsed();
        let (from, before) = std::mem::replace(&mut self.last, (at, done));
        let interval = Interval {
            at_s: at.as_secs_f64(),
            seconds: (at - from).as_secs_f64(),
            done: done.saturating_sub(before),
            latency_us: (fresh.len() > 0).then(|| fresh.percentiles()),
        };
        if let Some(raw) = &mut self.raw {
            raw.add(from, at - from, fresh)?;
        }
        if let Some(meter) = &mut self.meter {
            self.memory.push((at.as_secs_f64(), meter.read()?.rss_bytes));
        }
        // For the agents' samples.
        self.client_cpu_s()?;
        self.intervals.push(interval.clone());
        Ok(interval)
    }

    pub(super) fn intervals(&self) -> &[Interval] {
        &self.intervals
    }

    pub(super) fn memory(&self) -> &[(f64, u64)] {
        &self.memory
    }

    pub(super) fn strike(self) -> Result<Seen, LoadError> {
        self.raw.map(RawLog::finish).transpose()?;
        let samples = self.watch.map(Watch::stop).unwrap_or_default();
        let mut doctor = self.doctor;
        for finding in doctor::look_back(&samples) {
            warn(&finding);
            doctor.push(finding);
        }
        Ok(Seen {
            seconds: self.began.elapsed().as_secs_f64(),
            intervals: self.intervals,
            server_pids: self.meter.as_ref().map_or(&[][..], ServerMeter::pids).to_vec(),
            doctor,
            agents: self.crew.map_or(Vec::new(), |crew| crew.report()),
            samples,
        })
    }
}

fn warn(finding: &Finding) {
    if finding.level == Level::Warning {
        say(format_args!("{}: {}: {}", finding.level.name(), finding.check, finding.text));
    }
}

/// `None`: not asked for, or not allowed, which stands in the report then.
fn count_syscalls(options: &Options, pids: &[u32], doctor: &mut Vec<Finding>) -> Option<Arc<Syscalls>> {
    if !options.syscalls {
        return None;
    }
    Syscalls::start(pids)
        .inspect_err(|why| {
            let finding =
                Finding { check: "syscalls", level: Level::Warning, text: format!("not counted: {why}") };
            warn(&finding);
            doctor.push(finding);
        })
        .ok()
        .map(Arc::new)
}
