//! `gochat-perf broadcast`: what one connection says goes to all, on any WebSocket server that does so.

use clap::Args;
use serde::Serialize;

use super::plain::{Lines, Times, check_path, print_cost};
use super::{Brought, Options, Scenario, Stage, bad, say};
use crate::error::LoadError;
use crate::plain::broadcast::BroadcastLoad;
use crate::report::Better;

#[derive(Debug, Args, Serialize)]
pub(crate) struct Broadcast {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    lines: Lines,
    #[command(flatten)]
    #[serde(flatten)]
    times: Times,
    /// The WebSocket's path, where what is said on one connection goes to all, the sender's too
    #[arg(long, default_value = "/broadcast")]
    path: String,
    /// Connections beside the sender's
    #[arg(long, default_value_t = 1000)]
    receivers: usize,
    /// Messages at a time that somebody has not got
    #[arg(long, default_value_t = 8)]
    in_flight: usize,
}

/// `result` in the report of `gochat-perf broadcast`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct BroadcastResult {
    /// With those of the warm-up, as `delivered`.
    sent: u64,
    /// The sender's own copies are among them.
    delivered: u64,
    /// Connections whose contents were looked at.
    checked: usize,
    /// Deliveries a second.
    rate: f64,
    server_cpu_us_per_delivery: Option<f64>,
    /// This program's own: where it is as large as the server's, the rate is not the server's limit.
    client_cpu_us_per_delivery: Option<f64>,
}

impl Scenario for Broadcast {
    const NAME: &'static str = "broadcast";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.receivers == 0 || self.in_flight == 0 {
            return bad("--receivers and --in-flight must be above 0");
        }
        check_path(&self.path)?;
        self.lines.check(self.receivers, self.in_flight)?;
        self.times.check()
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let connections = self.receivers + 1;
        let plan = self.lines.plan(&stage.target, &self.path, connections, Some(1));
        let load = BroadcastLoad::start(plan, self.in_flight)?;
        let control = load.control.clone();
        load.wait_ready(connections, self.lines.connect_patience(connections))?;
        say(format_args!("{} receivers, {} messages on the way to them", self.receivers, self.in_flight));
        let window = self.times.measure(stage, &control, false, |latencies| &latencies.echo, || Ok(()))?;
        let outcome = load.stop(self.times.settle());
        let progress = control.counters.snapshot();
        let result = BroadcastResult {
            sent: progress.sent,
            delivered: progress.delivered,
            checked: outcome.checked,
            rate: window.rate(),
            server_cpu_us_per_delivery: window.server_cpu_us_per_op(),
            client_cpu_us_per_delivery: window.client_cpu_us_per_op(),
        };
        println!(
            "sent {} · delivered {} · {} deliveries/s · contents of {} connections checked",
            result.sent, result.delivered, result.rate, result.checked
        );
        print_cost("delivery", &window);
        let mut figures = window.figures();
        figures.add("receivers", self.receivers as f64, "", Better::Neither);
        Ok(Brought {
            verdict: outcome.verdict,
            broken: outcome.broken,
            figures,
            result: serde_json::to_value(&result).unwrap_or_default(),
            ..Brought::default()
        })
    }
}
