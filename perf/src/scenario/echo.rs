//! `gochat-perf echo`: messages that a server says back, with some on the wire at a time.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{Brought, Options, Scenario, Stage, bad, check_seconds, default_threads, say};
use crate::echo::{EchoConfig, EchoLoad};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::report::Better;

#[derive(Debug, Args, Serialize)]
pub(crate) struct Echo {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    /// The WebSocket's path
    #[arg(long, default_value = "/ws")]
    path: String,
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Messages that become due each second, over all connections. 0: each connection sends as soon as it may, and no
    /// latency is told, since such a loop waits whenever the server does
    #[arg(long, default_value_t = 0.0)]
    rate: f64,
    /// Messages of each connection on the wire at a time
    #[arg(long, default_value_t = 1)]
    depth: usize,
    /// Bytes of text in each message
    #[arg(long, default_value_t = 128)]
    message_bytes: usize,
    /// One connection in this many is a whole WebSocket client that looks at contents; on the others, replies are counted
    #[arg(long, default_value_t = 100)]
    checked_every: usize,
    /// How long messages are sent
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// New connections a second
    #[arg(long, default_value_t = 1000.0)]
    connect_rate: f64,
    /// Threads of the load [default: half of the cores]
    #[arg(long)]
    threads: Option<usize>,
    /// How long the last replies may take
    #[arg(long, default_value_t = 10.0)]
    settle_seconds: f64,
}

/// `result` in the report of `gochat-perf echo`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct EchoResult {
    sent: u64,
    answered: u64,
    /// Connections whose contents were looked at.
    checked: usize,
    /// Replies a second.
    rate: f64,
    server_cpu_us_per_message: Option<f64>,
    /// This program's own: where it is as large as the server's, the rate is not the server's limit.
    client_cpu_us_per_message: Option<f64>,
    /// `null`: no rate was given.
    echo_us: Option<Percentiles>,
}

impl Scenario for Echo {
    const NAME: &'static str = "echo";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.connections == 0 || self.depth == 0 || self.checked_every == 0 || self.message_bytes < 24 {
            return bad(
                "--connections, --depth and --checked-every must be above 0, and --message-bytes at least 24",
            );
        }
        if !(0.0..=1e7).contains(&self.rate) || self.seconds <= 0.0 || self.connect_rate <= 0.0 {
            return bad("--seconds and --connect-rate must be above 0, and --rate not below");
        }
        check_seconds("--seconds and --settle-seconds", &[self.seconds, self.settle_seconds])
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let load = EchoLoad::start(EchoConfig {
            target: stage.target.clone(),
            path: self.path.clone(),
            connections: self.connections,
            rate_per_s: self.rate,
            depth: self.depth,
            message_bytes: self.message_bytes,
            checked_every: self.checked_every,
            connects_per_s: self.connect_rate,
            threads: self.threads.unwrap_or_else(default_threads),
        })?;
        let patience = Duration::from_secs_f64(10.0 + 4.0 * self.connections as f64 / self.connect_rate);
        load.wait_connected(self.connections, patience)?;
        say(format_args!("{} connections, {} messages on the wire of each", self.connections, self.depth));
        let control = load.control.clone();
        let mut start = stage.begin_window()?;
        let lasting = Duration::from_secs_f64(self.seconds);
        let began = control.begin_sending(Some(lasting));
        stage.begin_intervals_at(&mut start, began);
        while let Some(rest) =
            (began + lasting).checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero())
        {
            std::thread::sleep(rest.min(Duration::from_secs(1)));
            let interval =
                stage.end_interval(control.counters.snapshot().delivered, &control.fresh_latencies().echo)?;
            let latency = interval.latency_us.map_or(String::new(), |us| us.to_string());
            say(format_args!("{:>5.1} s  +{}  {latency}", began.elapsed().as_secs_f64(), interval.done));
        }
        let window = stage.end_window(&start, control.counters.snapshot().delivered)?;
        let outcome = load.stop(Duration::from_secs_f64(self.settle_seconds));
        let (progress, latencies) = (control.counters.snapshot(), control.all_latencies());
        let result = EchoResult {
            sent: progress.sent,
            answered: progress.delivered,
            checked: outcome.checked,
            rate: window.rate(),
            server_cpu_us_per_message: window.server_cpu_us_per_op(),
            client_cpu_us_per_message: window.client_cpu_us_per_op(),
            echo_us: (latencies.echo.len() > 0).then(|| latencies.echo.percentiles()),
        };
        result.print();
        let mut figures = window.figures();
        figures.add("connections", self.connections as f64, "", Better::Neither);
        Ok(Brought {
            verdict: outcome.verdict,
            broken: outcome.broken,
            figures,
            main_latency: result.echo_us.map(|_| "echo"),
            latencies: latencies.named().collect(),
            result: serde_json::to_value(&result).unwrap_or_default(),
            ..Brought::default()
        })
    }
}

impl EchoResult {
    fn print(&self) {
        println!(
            "sent {} · answered {} · {} replies/s · contents of {} connections checked",
            self.sent, self.answered, self.rate, self.checked
        );
        if let Some(us) = &self.echo_us {
            println!("echo     {us}");
        }
        let or_unknown = |us: Option<f64>| us.map_or("unknown".to_owned(), |us| format!("{us} µs"));
        println!(
            "CPU a message: server {} · client {}",
            or_unknown(self.server_cpu_us_per_message),
            or_unknown(self.client_cpu_us_per_message)
        );
    }
}
