//! `gochat-perf soak`: a chat that goes on, and whether the server's memory and latencies stay where they are.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::course::{self, ChatResult};
use super::{Brought, Fleet, Options, Scenario, Stage, bad, check_pairs, check_seconds, say};
use crate::agent::Parts;
use crate::error::LoadError;
use crate::report::{Better, Interval};

#[derive(Debug, Args, Serialize)]
pub(crate) struct Soak {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    fleet: Fleet,
    #[command(flatten)]
    #[serde(flatten)]
    parts: Parts,
    /// Users, who talk in pairs: an even number
    #[arg(long, default_value_t = 200)]
    users: usize,
    /// Messages that become due each second, over all users
    #[arg(long, default_value_t = 200.0)]
    rate: f64,
    /// How long messages become due: the default only tries the way; a leak shows in hours
    #[arg(long, default_value_t = 45.0)]
    seconds: f64,
    /// How long the unfinished may take after the sending, with the final reading
    #[arg(long, default_value_t = 300.0)]
    settle_seconds: f64,
}

/// `result` in the report of `gochat-perf soak`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct SoakResult {
    /// The server's memory: slope over the last two thirds of the time. `null`: the server's process is unknown.
    rss_bytes_per_s: Option<f64>,
    /// The same for each message stored, which a store that grows explains in part.
    rss_bytes_per_message: Option<f64>,
    /// Median p99 of the last third's seconds over that of the first third's. `null`: too few seconds.
    p99_drift: Option<f64>,
    chat: ChatResult,
}

impl Scenario for Soak {
    const NAME: &'static str = "soak";

    fn options(&self) -> &Options {
        &self.options
    }

    fn parts(&self) -> Option<&Parts> {
        Some(&self.parts)
    }

    fn check(&self) -> Result<(), LoadError> {
        check_pairs(self.users)?;
        self.parts.check_sessions(self.users)?;
        if self.rate.is_nan() || self.rate <= 0.0 || self.seconds <= 0.0 {
            return bad("--rate and --seconds must be above 0");
        }
        check_seconds("--seconds and --settle-seconds", &[self.seconds, self.settle_seconds])
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let users = self.fleet.bring_users(self.users, &stage.target)?;
        let load = self.fleet.start(stage, self.fleet.config(stage, users, self.rate))?;
        self.fleet.wait_connected(&load, self.users)?;
        say(format_args!("{} sessions, {} messages/s for {} s", self.users, self.rate, self.seconds));
        let window = course::send(&load, Duration::from_secs_f64(self.seconds), stage)?;
        let outcome = course::settle(load, self.users, Duration::from_secs_f64(self.settle_seconds))?;
        let judged = course::judge(outcome, window);
        judged.print();
        let memory = stage.memory();
        let slope = slope(&memory[memory.len() / 3..]);
        let result = SoakResult {
            rss_bytes_per_s: slope.map(f64::round),
            rss_bytes_per_message: slope
                .filter(|_| window.rate() > 0.0)
                .map(|slope| (slope / window.rate()).round()),
            p99_drift: p99_drift(stage.intervals()),
            chat: judged.result.clone(),
        };
        let or_unknown =
            |value: Option<f64>| value.map_or("unknown".to_owned(), |value| format!("{value:.2}"));
        println!(
            "memory   {} bytes/s · {} bytes a message · p99 at the end over p99 at the begin: {}",
            or_unknown(result.rss_bytes_per_s),
            or_unknown(result.rss_bytes_per_message),
            or_unknown(result.p99_drift)
        );
        let mut brought = judged.bring(&result);
        brought.figures.add("server_rss_growth", result.rss_bytes_per_s, "bytes/s", Better::Lower);
        brought.figures.add("server_rss_per_message", result.rss_bytes_per_message, "bytes", Better::Lower);
        brought.figures.add("p99_drift", result.p99_drift, "", Better::Lower);
        Ok(brought)
    }
}

/// Least squares over (seconds, bytes); `None`: fewer than three points, or all at one time.
fn slope(points: &[(f64, u64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, u64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (at, bytes) = (mean(|point| point.0), mean(|point| point.1 as f64));
    let spread: f64 = points.iter().map(|point| (point.0 - at).powi(2)).sum();
    let product: f64 = points.iter().map(|point| (point.0 - at) * (point.1 as f64 - bytes)).sum();
    (points.len() >= 3 && spread > 0.0).then(|| product / spread)
}

fn p99_drift(intervals: &[Interval]) -> Option<f64> {
    let p99s: Vec<f64> =
        intervals.iter().filter_map(|second| Some(second.latency_us.as_ref()?.p99 as f64)).collect();
    let third = p99s.len() / 3;
    if third == 0 {
        return None;
    }
    let middle = |part: &[f64]| {
        let mut sorted = part.to_vec();
        sorted.sort_by(f64::total_cmp);
        sorted[sorted.len() / 2]
    };
    let (begin, end) = (middle(&p99s[..third]), middle(&p99s[p99s.len() - third..]));
    (begin > 0.0).then(|| (end / begin * 100.0).round() / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::latency::Percentiles;

    #[test]
    fn a_slope_is_found_through_noise() {
        let leaking: Vec<(f64, u64)> =
            (0..100).map(|at| (f64::from(at), 1_000_000 + 500 * at as u64 + (at as u64 % 7) * 10)).collect();
        assert!((slope(&leaking).unwrap() - 500.0).abs() < 5.0);
        assert_eq!(slope(&leaking[..2]), None);
        assert_eq!(slope(&[(1.0, 5); 9]), None);
    }

    #[test]
    fn a_latency_that_creeps_up_is_seen() {
        let second = |p99| Interval {
            at_s: 0.0,
            seconds: 1.0,
            done: 1,
            latency_us: Some(Percentiles { p50: 1, p90: 1, p99, p999: p99, max: p99 }),
        };
        let creeping: Vec<Interval> = (1..=30).map(|at| second(at * 100)).collect();
        assert_eq!(p99_drift(&creeping), Some(4.33));
        assert_eq!(p99_drift(&creeping[..2]), None);
    }
}
