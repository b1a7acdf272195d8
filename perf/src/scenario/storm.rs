//! `gochat-perf storm`: a light chat among many sessions, all of which are cut in one moment and come back at once.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{Exit, course, default_threads, say, trouble_of, wait_connected, write_json};
use crate::config::{ClientRules, LoadConfig, Target, random_run};
use crate::error::LoadError;
use crate::load::ChatLoad;
use crate::report::{ChatReport, Percentiles, SendingWindow};
use crate::server_meter::{ServerMeter, own_cpu_s};
use crate::tally::Progress;

#[derive(Debug, Args)]
pub struct StormArgs {
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Sessions: an even number, since their users talk in pairs
    #[arg(long, default_value_t = 1000)]
    pub users: usize,
    /// Users with tokens, as `gochat seed` writes them, instead of registering new ones
    #[arg(long)]
    pub users_file: Option<PathBuf>,
    /// Messages that become due each second among all sessions, during the outage too
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// How long they chat before the cut, and again after all are back
    #[arg(long, default_value_t = 5.0)]
    pub seconds: f64,
    /// A client's first wait before it reconnects, times 0.5 to 1.0; doubled with each failure
    #[arg(long, default_value_t = 500)]
    pub backoff_min_ms: u64,
    /// A client's longest wait; a longer Retry-After is kept
    #[arg(long, default_value_t = 30_000)]
    pub backoff_max_ms: u64,
    /// How long the way back may take before the storm has failed
    #[arg(long, default_value_t = 120.0)]
    pub back_seconds: f64,
    /// The server's admin port, for its CPU time and memory
    #[arg(long)]
    pub admin: Option<String>,
    /// Write the result here too
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// The order of senders and all jitter [default: random]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Threads of the load [default: half of the cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// New connections a second before the cut; after it only the back-off paces them
    #[arg(long, default_value_t = 500.0)]
    pub connect_rate: f64,
    /// How long the unfinished may take after the sending, with the final reading
    #[arg(long, default_value_t = 300.0)]
    pub settle_seconds: f64,
}

/// The JSON file of `gochat-perf storm`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct StormReport {
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
    chat: ChatReport,
}

/// How the way back went.
struct WayBack {
    cut: u64,
    back_s: Option<f64>,
    synced_s: Option<f64>,
}

/// Runs the storm and judges it.
///
/// # Errors
/// [`LoadError`]: it could not be run. What the server did wrong is in the exit code.
pub fn run(args: &StormArgs) -> Result<Exit, LoadError> {
    check_args(args)?;
    let target = Target::parse(&args.url)?;
    let mut meter = args.admin.as_deref().map(ServerMeter::new).transpose()?;
    let run = random_run();
    let users = course::bring_users(args.users_file.as_deref(), args.users, &target, &run)?;
    let rules = ClientRules {
        backoff_min_ms: args.backoff_min_ms,
        backoff_max_ms: args.backoff_max_ms,
        ..ClientRules::default()
    };
    let load = ChatLoad::start(LoadConfig {
        rate_per_s: args.rate,
        run,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        threads: args.threads.unwrap_or_else(default_threads),
        connects_per_s: args.connect_rate,
        rules,
        ..LoadConfig::new(target, users)
    })?;
    wait_connected(&load, args.users, args.connect_rate)?;
    say(format_args!("{} sessions, {} messages/s", args.users, args.rate));
    let server_before = meter.as_mut().map(ServerMeter::read).transpose()?;
    let (began, client_before) = (load.begin(), own_cpu_s());
    let chat_for = Duration::from_secs_f64(args.seconds);
    std::thread::sleep(chat_for);
    let before = load.progress();
    let way = cut_and_watch(&load, args);
    let trouble = trouble_of(&load);
    std::thread::sleep(chat_for);
    load.end_sending();
    let (seconds, stored) = (began.elapsed().as_secs_f64(), load.progress().stored);
    let server = meter.as_mut().map(ServerMeter::read).transpose()?;
    let window = SendingWindow {
        seconds,
        stored,
        server_cpu_s: server.zip(server_before).map(|(after, before)| after.cpu_s - before.cpu_s),
        server_rss_bytes: server.map(|server| server.rss_bytes),
        client_cpu_s: own_cpu_s() - client_before,
    };
    judge(args, load, &before, &way, &window, &trouble)
}

fn check_args(args: &StormArgs) -> Result<(), LoadError> {
    let bad = |why: &str| Err(LoadError::BadConfig(why.to_owned()));
    if args.users < 2 || !args.users.is_multiple_of(2) {
        return bad("--users must be even and at least 2: users talk in pairs");
    }
    let a_day = 0.0..=86_400.0;
    let times = [args.seconds, args.back_seconds, args.settle_seconds];
    if args.rate <= 0.0 || !times.iter().all(|seconds| a_day.contains(seconds)) {
        return bad("--rate must be above 0, and all seconds between 0 and 86400");
    }
    Ok(())
}

/// Cuts all and waits until all are back and level, or until the time is over.
fn cut_and_watch(load: &ChatLoad, args: &StormArgs) -> WayBack {
    load.cut_all();
    let began = Instant::now();
    let patience = Duration::from_secs_f64(args.back_seconds);
    // The threads look for the order at least this often.
    let all_cut = Duration::from_millis(500);
    let mut way = WayBack { cut: 0, back_s: None, synced_s: None };
    let mut shown = Duration::ZERO;
    while began.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(5));
        let (now, at) = (load.progress(), began.elapsed());
        way.cut = now.cut;
        if at - shown >= Duration::from_secs(1) {
            shown = at;
            let (back, synced, cut) = (now.back, now.synced, now.cut);
            say(format_args!(
                "{:>5.1} s  back {back}  synced {synced} of {cut} {}",
                at.as_secs_f64(),
                trouble_of(load)
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
    way
}

fn judge(
    args: &StormArgs,
    load: ChatLoad,
    before: &Progress,
    way: &WayBack,
    window: &SendingWindow,
    trouble: &str,
) -> Result<Exit, LoadError> {
    let outcome = course::settle(load, args.users, Duration::from_secs_f64(args.settle_seconds));
    let judged = course::judge(&outcome, window);
    judged.print(&outcome, window);
    let after = &outcome.progress;
    let refused_with = after.refused_with_retry_after - before.refused_with_retry_after;
    let refused_without = after.refused_without_retry_after - before.refused_without_retry_after;
    let failed = after.connect_failures - before.connect_failures;
    let report = StormReport {
        sessions: args.users,
        cut: way.cut,
        back_s: way.back_s,
        synced_s: way.synced_s,
        back_us: Percentiles::of(&outcome.latencies.back),
        synced_us: Percentiles::of(&outcome.latencies.synced),
        refused_with_retry_after: refused_with,
        refused_without_retry_after: refused_without,
        handshake_errors: failed - refused_with - refused_without,
        disconnects: after.disconnects - before.disconnects,
        chat: judged.report.clone(),
    };
    print(&report, trouble);
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    let all_synced = way.synced_s.is_some() && way.cut > 0;
    Ok(if all_synced && refused_without == 0 { judged.exit } else { Exit::Broken })
}

fn print(report: &StormReport, trouble: &str) {
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
