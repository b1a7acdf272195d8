//! `gochat-perf storm`: a light chat among many sessions, all of which are cut in one moment and come back at once.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::course::{self, ChatResult};
use super::fleet::trouble_of;
use super::{Brought, Fleet, Load, Options, Scenario, Stage, bad, check_pairs, check_seconds, say};
use crate::agent::Parts;
use crate::config::{ClientRules, LoadConfig};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::report::{Better, Figures, SendingWindow};
use crate::tally::Progress;

#[derive(Debug, Args, Serialize)]
pub(crate) struct Storm {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: Fleet,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) parts: Parts,
    /// Sessions: an even number, since their users talk in pairs
    #[arg(long, default_value_t = 1000)]
    pub(crate) users: usize,
    /// Messages that become due each second among all sessions, during the outage too
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// How long they chat before the cut, and again after all are back
    #[arg(long, default_value_t = 5.0)]
    pub(crate) seconds: f64,
    /// A client's first wait before it reconnects, times 0.5 to 1.0; doubled with each failure
    #[arg(long, default_value_t = 500)]
    pub(crate) backoff_min_ms: u64,
    /// A client's longest wait; a longer Retry-After is kept
    #[arg(long, default_value_t = 30_000)]
    pub(crate) backoff_max_ms: u64,
    /// How long the way back may take before the storm has failed
    #[arg(long, default_value_t = 120.0)]
    pub(crate) back_seconds: f64,
    /// How long the unfinished may take after the sending, with the final reading
    #[arg(long, default_value_t = 300.0)]
    pub(crate) settle_seconds: f64,
}

/// `result` in the report of `gochat-perf storm`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct StormResult {
    sessions: usize,
    /// Connections that were open at the cut.
    cut: u64,
    /// From the cut until all were connected again. `null`: not all came back in time.
    back_s: Option<f64>,
    /// From the cut until all were level with the server again. `null`: not all in time.
    synced_s: Option<f64>,
    /// Of each session: cut → connected, its back-off included.
    back_us: Percentiles,
    /// Of each session: cut → nothing missing.
    synced_us: Percentiles,
    /// Upgrades that the server refused with a time to come again: allowed.
    refused_with_retry_after: u64,
    /// Upgrades that the server refused without one: a broken promise.
    refused_without_retry_after: u64,
    /// Connects and handshakes that failed without an answer.
    handshake_errors: u64,
    /// Connections that ended after the cut, other than by it.
    disconnects: u64,
    /// What `gochat-perf chat` reports, over the whole run.
    chat: ChatResult,
}

/// How the way back went.
struct WayBack {
    cut: u64,
    back_s: Option<f64>,
    synced_s: Option<f64>,
}

impl Scenario for Storm {
    const NAME: &'static str = "storm";

    fn options(&self) -> &Options {
        &self.options
    }

    fn parts(&self) -> Option<&Parts> {
        Some(&self.parts)
    }

    fn check(&self) -> Result<(), LoadError> {
        check_pairs(self.users)?;
        self.parts.check_sessions(self.users)?;
        if self.rate.is_nan() || self.rate <= 0.0 {
            return bad("--rate must be above 0");
        }
        let times = [self.seconds, self.back_seconds, self.settle_seconds];
        check_seconds("--seconds, --back-seconds and --settle-seconds", &times)
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let users = self.fleet.bring_users(self.users, &stage.target)?;
        let rules = ClientRules {
            backoff_min_ms: self.backoff_min_ms,
            backoff_max_ms: self.backoff_max_ms,
            ..ClientRules::default()
        };
        let config = LoadConfig { rules, ..self.fleet.config(stage, users, self.rate) };
        let load = self.fleet.start(stage, config)?;
        self.fleet.wait_connected(&load, self.users)?;
        say(format_args!("{} sessions, {} messages/s", self.users, self.rate));
        let mut start = stage.begin_window()?;
        let chat_for = Duration::from_secs_f64(self.seconds);
        let began = load.begin()?;
        stage.begin_intervals_at(&mut start, began);
        course::watch_until(&load, began + chat_for, stage)?;
        let before = load.progress()?;
        let way = cut_and_watch(&load, self, stage)?;
        let trouble = trouble_of(&load)?;
        course::watch_until(&load, Instant::now() + chat_for, stage)?;
        load.end_sending()?;
        let window = stage.end_window(&start, load.progress()?.stored)?;
        judge(self, load, &before, &way, window, &trouble)
    }
}

/// Cuts all and waits until all are back and level, or until the time is over.
fn cut_and_watch(load: &Load, args: &Storm, stage: &mut Stage) -> Result<WayBack, LoadError> {
    load.cut_all()?;
    let began = Instant::now();
    let patience = Duration::from_secs_f64(args.back_seconds);
    // The threads look for the order at least this often.
    let all_cut = Duration::from_millis(500);
    let mut way = WayBack { cut: 0, back_s: None, synced_s: None };
    let mut shown = Duration::ZERO;
    while began.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(5));
        let (now, at) = (load.progress()?, began.elapsed());
        way.cut = now.cut;
        if at - shown >= Duration::from_secs(1) {
            shown = at;
            stage.end_interval(now.stored, &load.fresh_latencies()?.deliver)?;
            let (back, synced, cut) = (now.back, now.synced, now.cut);
            say(format_args!(
                "{:>5.1} s  back {back}  synced {synced} of {cut} {}",
                at.as_secs_f64(),
                trouble_of(load)?
            ));
        }
        if way.cut < args.users as u64 && at < all_cut {
            continue;
        }
        if now.back == now.cut {
            way.back_s.get_or_insert(at.as_secs_f64());
        }
        if now.synced == now.cut {
            way.synced_s = Some(at.as_secs_f64());
            break;
        }
    }
    Ok(way)
}

fn judge(
    args: &Storm,
    load: Load,
    before: &Progress,
    way: &WayBack,
    window: SendingWindow,
    trouble: &str,
) -> Result<Brought, LoadError> {
    let outcome = course::settle(load, args.users, Duration::from_secs_f64(args.settle_seconds))?;
    let judged = course::judge(outcome, window);
    judged.print();
    let after = judged.progress();
    let refused_with = after.refused_with_retry_after - before.refused_with_retry_after;
    let refused_without = after.refused_without_retry_after - before.refused_without_retry_after;
    let failed = after.connect_failures - before.connect_failures;
    let result = StormResult {
        sessions: args.users,
        cut: way.cut,
        back_s: way.back_s,
        synced_s: way.synced_s,
        back_us: judged.latencies().back.percentiles(),
        synced_us: judged.latencies().synced.percentiles(),
        refused_with_retry_after: refused_with,
        refused_without_retry_after: refused_without,
        handshake_errors: failed - refused_with - refused_without,
        disconnects: after.disconnects - before.disconnects,
        chat: judged.result.clone(),
    };
    print(&result, trouble);
    let mut brought = judged.bring(&result);
    result.add_to(&mut brought.figures);
    if way.synced_s.is_none() || way.cut == 0 {
        brought.broken.push(format!("not all came back level within {} s of the cut", args.back_seconds));
    }
    if refused_without > 0 {
        brought.broken.push(format!("{refused_without} upgrades were refused without a Retry-After"));
    }
    Ok(brought)
}

impl StormResult {
    fn add_to(&self, figures: &mut Figures) {
        figures.add("sessions", self.sessions as f64, "", Better::Neither);
        figures.add("back", self.back_s, "s", Better::Lower);
        figures.add("synced", self.synced_s, "s", Better::Lower);
        figures.add("refused_with_retry_after", self.refused_with_retry_after as f64, "", Better::Lower);
        figures.add("handshake_errors", self.handshake_errors as f64, "", Better::Lower);
        figures.add("disconnects", self.disconnects as f64, "", Better::Lower);
    }
}

fn print(report: &StormResult, trouble: &str) {
    let seconds = |at: Option<f64>| at.map_or("NOT IN TIME".to_owned(), |at| format!("{at:.1} s"));
    println!(
        "cut {} of {} sessions · all back after {} · all synced after {}",
        report.cut,
        report.sessions,
        seconds(report.back_s),
        seconds(report.synced_s)
    );
    println!("back     {}", report.back_us);
    println!("synced   {}", report.synced_us);
    println!(
        "refused with Retry-After {} · refused without {} · handshake errors {} · disconnects {} {trouble}",
        report.refused_with_retry_after,
        report.refused_without_retry_after,
        report.handshake_errors,
        report.disconnects
    );
}
