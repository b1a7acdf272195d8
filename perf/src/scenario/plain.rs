//! What the scenarios of any WebSocket server share: their connections, and a time that is measured after a warm-up.

use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{Stage, bad, check_seconds, default_threads, say};
use crate::config::Target;
use crate::error::LoadError;
use crate::latency::Latency;
use crate::plain::{MESSAGE_BYTES_MIN, Plan};
use crate::report::SendingWindow;
use crate::swarm::Control;
use crate::tally::Latencies;

/// A closed loop goes on a little behind the time that is measured, so that its end is not in it.
const TAIL: Duration = Duration::from_millis(200);
/// What a whole WebSocket client takes on at a time; the kernel takes the rest later.
const WRITTEN_BYTES_MAX: usize = 1 << 20;

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Times {
    /// How long is measured
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// How long the load goes on before that
    #[arg(long, default_value_t = 1.0)]
    pub(crate) warm_seconds: f64,
    /// How long the last replies may take
    #[arg(long, default_value_t = 10.0)]
    pub(crate) settle_seconds: f64,
}

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Lines {
    /// Bytes of text in each message
    #[arg(long, default_value_t = 128)]
    pub(crate) message_bytes: usize,
    /// One connection in this many is a whole WebSocket client that looks at contents; on the others, replies are counted
    #[arg(long, default_value_t = 100)]
    pub(crate) checked_every: usize,
    /// New connections a second
    #[arg(long, default_value_t = 1000.0)]
    pub(crate) connect_rate: f64,
}

impl Times {
    pub(super) fn check(&self) -> Result<(), LoadError> {
        if self.seconds <= 0.0 {
            return bad("--seconds must be above 0");
        }
        let times = [self.seconds, self.warm_seconds, self.settle_seconds];
        check_seconds("--seconds, --warm-seconds and --settle-seconds", &times)
    }

    pub(super) fn warm_us(&self) -> u64 {
        (self.warm_seconds * 1e6) as u64
    }

    pub(super) fn settle(&self) -> Duration {
        Duration::from_secs_f64(self.settle_seconds)
    }

    /// Begins the load, and measures it from the end of the warm-up on: operations and CPU time over the same span, with an
    /// interval each second. `look` may end it.
    pub(super) fn measure(
        &self,
        stage: &mut Stage,
        control: &Control,
        is_open_loop: bool,
        latency: fn(&Latencies) -> &Latency,
        look: impl Fn() -> Result<(), LoadError>,
    ) -> Result<SendingWindow, LoadError> {
        let (warm, lasting) =
            (Duration::from_secs_f64(self.warm_seconds), Duration::from_secs_f64(self.seconds));
        let tail = if is_open_loop { Duration::ZERO } else { TAIL };
        let from = control.begin_sending(Some(warm + lasting + tail)) + warm;
        std::thread::sleep(from.saturating_duration_since(Instant::now()));
        look()?;
        let done = || control.counters.snapshot().delivered;
        let mut start = stage.begin_window()?;
        let done_before = done();
        stage.begin_intervals_at(&mut start, Instant::now());
        while let Some(rest) =
            (from + lasting).checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
        {
            std::thread::sleep(rest.min(Duration::from_secs(1)));
            look()?;
            let fresh = control.fresh_latencies();
            let interval = stage.end_interval(done() - done_before, latency(&fresh))?;
            let latency = interval.latency_us.map_or(String::new(), |us| us.to_string());
            say(format_args!(
                "{:>5.1} s  +{}  {latency}",
                start.began.elapsed().as_secs_f64(),
                interval.done
            ));
        }
        stage.end_window(&start, done() - done_before)
    }
}

impl Lines {
    /// `at_once`: messages of one connection on the wire.
    pub(super) fn check(&self, connections: usize, at_once: usize) -> Result<(), LoadError> {
        check_message_bytes(self.message_bytes)?;
        if self.checked_every == 0 {
            return bad("--checked-every must be above 0");
        }
        if at_once.saturating_mul(self.message_bytes + 14) > WRITTEN_BYTES_MAX {
            return bad("the messages of one connection on the wire must fit in 1 MiB");
        }
        check_connecting(connections, self.connect_rate)
    }

    pub(super) fn plan(
        &self,
        target: &Target,
        path: &str,
        connections: usize,
        threads: Option<usize>,
    ) -> Arc<Plan> {
        Arc::new(Plan {
            target: target.clone(),
            path: path.to_owned(),
            connections,
            message_bytes: self.message_bytes,
            checked_every: self.checked_every,
            connects_per_s: self.connect_rate,
            threads: threads.unwrap_or_else(default_threads).clamp(1, connections),
        })
    }

    pub(super) fn connect_patience(&self, connections: usize) -> Duration {
        connect_patience(connections, self.connect_rate)
    }
}

pub(super) fn check_message_bytes(bytes: usize) -> Result<(), LoadError> {
    if bytes < MESSAGE_BYTES_MIN {
        return bad("--message-bytes must be at least 24, or a message has no room for its number");
    }
    Ok(())
}

/// Descriptors and memory are one process's, and source addresses end.
const CONNECTIONS_MAX: usize = 1_000_000;

pub(super) fn check_connecting(connections: usize, connect_rate: f64) -> Result<(), LoadError> {
    if connections == 0 || connections > CONNECTIONS_MAX {
        return bad("there must be between 1 and 1000000 connections");
    }
    if connect_rate.is_nan() || connect_rate <= 0.0 {
        return bad("--connect-rate must be above 0");
    }
    Ok(())
}

pub(super) fn check_path(path: &str) -> Result<(), LoadError> {
    let is_fine = path.starts_with('/') && path.bytes().all(|byte| byte.is_ascii_graphic());
    if is_fine {
        Ok(())
    } else {
        bad("--path must begin with / and have neither blanks nor other than ASCII")
    }
}

/// 0: a closed loop.
pub(super) fn check_rate(rate: f64) -> Result<(), LoadError> {
    if (0.0..=1e7).contains(&rate) { Ok(()) } else { bad("--rate must be between 0 and 10000000") }
}

pub(super) fn connect_patience(connections: usize, connect_rate: f64) -> Duration {
    Duration::from_secs_f64((10.0 + 4.0 * connections as f64 / connect_rate).min(86_400.0))
}

/// The CPU time of both sides, for people.
pub(super) fn print_cost(what: &str, window: &SendingWindow) {
    let or_unknown = |us: Option<f64>| us.map_or("unknown".to_owned(), |us| format!("{us:.2} µs"));
    println!(
        "CPU a {what}: server {} · client {}",
        or_unknown(window.server_cpu_us_per_op()),
        or_unknown(window.client_cpu_us_per_op())
    );
}
