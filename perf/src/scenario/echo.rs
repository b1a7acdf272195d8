//! `gochat-perf echo`: messages that a server says back, with some on the wire at a time.

use clap::Args;
use serde::Serialize;

use super::plain::{Lines, Times, check_path, check_rate, print_cost};
use super::{Brought, Options, Scenario, Stage, bad, say};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::plain::echo::{EchoConfig, EchoLoad};
use crate::plain::wait_connected;
use crate::report::Better;

#[derive(Debug, Args, Serialize)]
pub(crate) struct Echo {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    lines: Lines,
    #[command(flatten)]
    #[serde(flatten)]
    times: Times,
    /// The WebSocket's path
    #[arg(long, default_value = "/")]
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
    /// Threads of the load [default: half of the cores]
    #[arg(long)]
    threads: Option<usize>,
}

/// `result` in the report of `gochat-perf echo`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct EchoResult {
    /// With those of the warm-up, as `answered`.
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
        if self.depth == 0 || self.threads == Some(0) {
            return bad("--depth and --threads must be above 0");
        }
        check_path(&self.path)?;
        check_rate(self.rate)?;
        self.lines.check(self.connections, self.depth)?;
        self.times.check()
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let plan = self.lines.plan(&stage.target, &self.path, self.connections, self.threads);
        let config =
            EchoConfig { plan, rate_per_s: self.rate, depth: self.depth, warm_us: self.times.warm_us() };
        let load = EchoLoad::start(config, self.connections)?;
        let control = load.control.clone();
        wait_connected(&control, self.connections, self.lines.connect_patience(self.connections))?;
        say(format_args!("{} connections, {} messages on the wire of each", self.connections, self.depth));
        let window =
            self.times.measure(stage, &control, self.rate > 0.0, |latencies| &latencies.echo, || Ok(()))?;
        let outcome = load.stop(self.times.settle());
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
        println!(
            "sent {} · answered {} · {} replies/s · contents of {} connections checked",
            result.sent, result.answered, result.rate, result.checked
        );
        if let Some(us) = &result.echo_us {
            println!("echo     {us}");
        }
        print_cost("message", &window);
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
