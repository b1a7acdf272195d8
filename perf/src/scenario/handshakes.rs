//! `gochat-perf handshakes`: connections that come, say one thing, hear it back, and go.

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::plain::{Times, check_connecting, check_message_bytes, check_path, check_rate, print_cost};
use super::{Brought, Options, Scenario, Stage, bad, default_threads, say};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::plain::visits::{VisitsConfig, VisitsLoad};
use crate::report::Better;

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum, Serialize)]
#[serde(rename_all = "lowercase")]
enum Close {
    /// With close frames of both, and by the server
    Handshake,
    /// With a TCP reset, as soon as the message is back
    Reset,
}

#[derive(Debug, Args, Serialize)]
pub(crate) struct Handshakes {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    times: Times,
    /// The WebSocket's path, where messages are said back
    #[arg(long, default_value = "/")]
    path: String,
    /// Connections at a time
    #[arg(long, default_value_t = 64)]
    concurrent: usize,
    /// Connections that become due each second. 0: one begins where one ends, and no latency is told, since such a loop
    /// waits whenever the server does
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Bytes of text in the one message
    #[arg(long, default_value_t = 128)]
    message_bytes: usize,
    #[arg(long, value_enum, default_value_t = Close::Handshake)]
    close: Close,
    /// A connection that has not come and gone by then has failed
    #[arg(long, default_value_t = 5.0)]
    visit_max_seconds: f64,
    /// Threads of the load [default: half of the cores]
    #[arg(long)]
    threads: Option<usize>,
}

/// A message of more might not be written at once.
const MESSAGE_BYTES_MAX: usize = 16 * 1024;

/// `result` in the report of `gochat-perf handshakes`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct HandshakesResult {
    /// With those of the warm-up, as `done` and `failed`.
    begun: u64,
    done: u64,
    failed: u64,
    /// Done a second.
    rate: f64,
    server_cpu_us_per_visit: Option<f64>,
    /// This program's own: where it is as large as the server's, the rate is not the server's limit.
    client_cpu_us_per_visit: Option<f64>,
    /// Due → the message is back. `null`: no rate was given.
    handshake_us: Option<Percentiles>,
}

impl Scenario for Handshakes {
    const NAME: &'static str = "handshakes";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.threads == Some(0) {
            return bad("--threads must be above 0");
        }
        if !(0.001..=3600.0).contains(&self.visit_max_seconds) {
            return bad("--visit-max-seconds must be between 0.001 and 3600");
        }
        if self.message_bytes > MESSAGE_BYTES_MAX {
            return bad("--message-bytes must be at most 16384");
        }
        check_message_bytes(self.message_bytes)?;
        check_path(&self.path)?;
        check_rate(self.rate)?;
        check_connecting(self.concurrent, 1.0)?;
        self.times.check()
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let load = VisitsLoad::start(VisitsConfig {
            target: stage.target.clone(),
            path: self.path.clone(),
            concurrent: self.concurrent,
            rate_per_s: self.rate,
            message_bytes: self.message_bytes,
            closes: self.close == Close::Handshake,
            visit_max_us: (self.visit_max_seconds * 1e6) as u64,
            warm_us: self.times.warm_us(),
            threads: self.threads.unwrap_or_else(default_threads).clamp(1, self.concurrent),
        })?;
        let control = load.control.clone();
        say(format_args!("{} connections at a time", self.concurrent));
        let is_welcome = || load.check_welcome(self.concurrent);
        let is_open_loop = self.rate > 0.0;
        let window = self.times.measure(
            stage,
            &control,
            is_open_loop,
            |latencies| &latencies.handshake,
            is_welcome,
        )?;
        let broken = load.stop(self.times.settle());
        let (progress, latencies) = (control.counters.snapshot(), control.all_latencies());
        let result = HandshakesResult {
            begun: progress.sent,
            done: progress.delivered,
            failed: progress.connect_failures,
            rate: window.rate(),
            server_cpu_us_per_visit: window.server_cpu_us_per_op(),
            client_cpu_us_per_visit: window.client_cpu_us_per_op(),
            handshake_us: (latencies.handshake.len() > 0).then(|| latencies.handshake.percentiles()),
        };
        println!(
            "begun {} · done {} · failed {} · {} connections/s came and went",
            result.begun, result.done, result.failed, result.rate
        );
        if let Some(us) = &result.handshake_us {
            println!("handshake {us}");
        }
        print_cost("connection", &window);
        let mut figures = window.figures();
        figures.add("concurrent", self.concurrent as f64, "", Better::Neither);
        figures.add("failed", progress.connect_failures as f64, "", Better::Lower);
        Ok(Brought {
            broken,
            figures,
            main_latency: result.handshake_us.map(|_| "handshake"),
            latencies: latencies.named().collect(),
            result: serde_json::to_value(&result).unwrap_or_default(),
            ..Brought::default()
        })
    }
}
