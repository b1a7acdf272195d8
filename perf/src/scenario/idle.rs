//! `gochat-perf idle`: connections on which nothing happens, and what they cost the server.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::plain::{check_connecting, check_path, connect_patience};
use super::{Brought, Options, Scenario, Stage, bad, check_seconds, default_threads, mib, say};
use crate::error::LoadError;
use crate::meter::{CONNECTIONS_MIN, Growth, Mark, ServerMeter};
use crate::plain::echo::{EchoConfig, EchoLoad};
use crate::plain::{Plan, wait_connected};
use crate::report::{Better, Figures};

#[derive(Debug, Args, Serialize)]
pub(crate) struct Idle {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    /// The WebSocket's path
    #[arg(long, default_value = "/")]
    path: String,
    /// One process has descriptors for some 18,000 where the limit is 20,000
    #[arg(long, default_value_t = 10_000)]
    connections: usize,
    /// How long all are held
    #[arg(long, default_value_t = 5.0)]
    seconds: f64,
    /// The pause before each measurement, for what a connect leaves to do
    #[arg(long, default_value_t = 4.0)]
    warm_seconds: f64,
    /// How long the answers to a last ping on each connection may take
    #[arg(long, default_value_t = 10.0)]
    settle_seconds: f64,
    /// New connections a second
    #[arg(long, default_value_t = 2000.0)]
    connect_rate: f64,
    /// Threads of the load [default: half of the cores]
    #[arg(long)]
    threads: Option<usize>,
}

/// `result` in the report of `gochat-perf idle`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct IdleResult {
    connections: usize,
    seconds: f64,
    rss_bytes_before: u64,
    rss_bytes_half: u64,
    rss_bytes_all: u64,
    /// After the holding.
    rss_bytes_after: u64,
    /// The slope from half to all: what the first connections make grow once is left out. `null`: too few connections.
    rss_bytes_per_connection: Option<f64>,
    /// The kernel's memory likewise, at both ends of the connection. `null`: too few, or the server is on another machine.
    kernel_bytes_per_connection: Option<f64>,
    /// CPU seconds of the server for each second of holding.
    cpu_s_per_s: f64,
    /// Connections that ended while they were held.
    disconnects: u64,
}

impl Scenario for Idle {
    const NAME: &'static str = "idle";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.threads == Some(0) {
            return bad("--threads must be above 0");
        }
        check_path(&self.path)?;
        check_connecting(self.connections, self.connect_rate)?;
        let times = [self.seconds, self.warm_seconds, self.settle_seconds];
        check_seconds("--seconds, --warm-seconds and --settle-seconds", &times)
    }

    /// Connects half, then all, and holds them.
    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let half = self.connections / 2;
        let before = Mark::now(meter(stage)?, 0)?;
        let load = EchoLoad::start(self.config(stage), half)?;
        let few = self.settled(&load, stage, half)?;
        load.control.let_connect(self.connections);
        let many = self.settled(&load, stage, self.connections)?;
        say(format_args!("{} connections for {} s", self.connections, self.seconds));
        std::thread::sleep(Duration::from_secs_f64(self.seconds));
        let after = Mark::now(meter(stage)?, self.connections)?;
        let disconnects = load.control.counters.snapshot().disconnects;
        let outcome = load.stop(Duration::from_secs_f64(self.settle_seconds));
        let growth = Growth::between(&few, &many);
        let result = IdleResult {
            connections: self.connections,
            seconds: self.seconds,
            rss_bytes_before: before.rss_bytes,
            rss_bytes_half: few.rss_bytes,
            rss_bytes_all: many.rss_bytes,
            rss_bytes_after: after.rss_bytes,
            rss_bytes_per_connection: growth.rss_bytes,
            kernel_bytes_per_connection: growth.kernel_bytes,
            cpu_s_per_s: (after.cpu_s - many.cpu_s) / (after.at - many.at).as_secs_f64().max(1e-9),
            disconnects,
        };
        result.print();
        let mut figures = Figures::default();
        result.add_to(&mut figures);
        growth.add_kernel_to(&mut figures);
        Ok(Brought {
            verdict: outcome.verdict,
            broken: outcome.broken,
            figures,
            result: serde_json::to_value(&result).unwrap_or_default(),
            ..Brought::default()
        })
    }
}

fn meter(stage: &mut Stage) -> Result<&mut ServerMeter, LoadError> {
    let unknown = || LoadError::BadConfig("idle measures the server: say --pid or --admin".to_owned());
    stage.meter.as_mut().ok_or_else(unknown)
}

impl Idle {
    /// Whole clients, which answer pings as long as they are held, and say nothing.
    fn config(&self, stage: &Stage) -> EchoConfig {
        let plan = Plan {
            target: stage.target.clone(),
            path: self.path.clone(),
            connections: self.connections,
            message_bytes: 0,
            checked_every: 1,
            connects_per_s: self.connect_rate,
            threads: self.threads.unwrap_or_else(default_threads).clamp(1, self.connections),
        };
        EchoConfig { plan: plan.into(), rate_per_s: 0.0, depth: 1, warm_us: 0 }
    }

    fn settled(&self, load: &EchoLoad, stage: &mut Stage, connections: usize) -> Result<Mark, LoadError> {
        let began = Instant::now();
        wait_connected(&load.control, connections, connect_patience(connections, self.connect_rate))?;
        say(format_args!("{connections} connected after {:.1} s", began.elapsed().as_secs_f64()));
        std::thread::sleep(Duration::from_secs_f64(self.warm_seconds));
        Mark::now(meter(stage)?, connections)
    }
}

impl IdleResult {
    fn add_to(&self, figures: &mut Figures) {
        figures.add("connections", self.connections as f64, "", Better::Neither);
        let slope = self.rss_bytes_per_connection;
        figures.add("server_rss_bytes_per_connection", slope, "bytes", Better::Lower);
        figures.add("held_cpu", self.cpu_s_per_s, "s/s", Better::Lower);
        figures.add("server_rss", self.rss_bytes_after as f64, "bytes", Better::Lower);
        figures.add("disconnects", self.disconnects as f64, "", Better::Lower);
    }

    /// Whether the first half was held in memory that the server had before.
    fn has_leftovers(&self) -> bool {
        let first = self.rss_bytes_half.saturating_sub(self.rss_bytes_before) as f64;
        let half = (self.connections / 2) as f64;
        self.rss_bytes_per_connection.is_some_and(|slope| first < half * slope / 2.0)
    }

    fn print(&self) {
        let connections = self.connections;
        match self.rss_bytes_per_connection {
            Some(bytes) => println!("{connections} connections · {bytes:.0} bytes of server memory for each"),
            None => println!(
                "{connections} connections · too few for the memory of one: the slope needs {CONNECTIONS_MIN} between half and all"
            ),
        }
        if let Some(bytes) = self.kernel_bytes_per_connection {
            println!("kernel   {bytes:.0} bytes a connection, at both of its ends");
        }
        println!("server   {:.4} s of CPU a second while they were held", self.cpu_s_per_s);
        println!(
            "memory   {:.1} MiB before · {:.1} with half · {:.1} with all · {:.1} at the end",
            mib(self.rss_bytes_before),
            mib(self.rss_bytes_half),
            mib(self.rss_bytes_all),
            mib(self.rss_bytes_after)
        );
        if self.has_leftovers() {
            println!(
                "The first half grew the server by far less than the second: it has memory left of earlier connections, which \
                 makes the slope too small. Start it anew for each run."
            );
        }
        println!("disconnects {}", self.disconnects);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_was_there_before_is_told_of() {
        let result = |before, half, all| IdleResult {
            connections: 10_000,
            seconds: 1.0,
            rss_bytes_before: before,
            rss_bytes_half: half,
            rss_bytes_all: all,
            rss_bytes_after: all,
            rss_bytes_per_connection: Some((all - half) as f64 / 5_000.0),
            kernel_bytes_per_connection: None,
            cpu_s_per_s: 0.0,
            disconnects: 0,
        };
        assert!(!result(3_000_000, 7_000_000, 11_000_000).has_leftovers());
        assert!(result(11_000_000, 11_000_000, 15_000_000).has_leftovers());
        assert!(!result(9_000_000, 9_000_000, 9_000_000).has_leftovers());
    }
}
