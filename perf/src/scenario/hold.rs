//! `gochat-perf hold`: idle sessions, and what they cost the server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{Exit, default_threads, say, trouble_of, wait_connected, write_json};
use crate::config::{LoadConfig, Target};
use crate::error::LoadError;
use crate::load::ChatLoad;
use crate::server_meter::{ServerMeter, ServerUse};
use crate::users;

#[derive(Debug, Args)]
pub struct HoldArgs {
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// The server's admin port, for its CPU time and memory
    #[arg(long, default_value = "http://127.0.0.1:8081")]
    pub admin: String,
    /// Users with tokens, as `gochat seed` writes them: one session each
    #[arg(long)]
    pub users_file: PathBuf,
    /// Take only the first of them
    #[arg(long)]
    pub users: Option<usize>,
    /// How long all sessions are held idle
    #[arg(long, default_value_t = 30.0)]
    pub seconds: f64,
    /// Write the result here too
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// New connections a second
    #[arg(long, default_value_t = 500.0)]
    pub connect_rate: f64,
    /// The pause before each measurement, for what a connect leaves to do
    #[arg(long, default_value_t = 6.0)]
    pub settle_seconds: f64,
}

/// The JSON file of `gochat-perf hold`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct HoldReport {
    sessions: usize,
    seconds: f64,
    rss_bytes_before: u64,
    rss_bytes_half: u64,
    rss_bytes_all: u64,
    /// The slope from half to all: what the first sessions make grow once is left out.
    rss_bytes_per_session: f64,
    /// CPU seconds of the server for each second of idle holding.
    cpu_s_per_s: f64,
    /// Sessions that ended while they were held.
    disconnects: u64,
}

/// Connects half, then all, holds them and reports.
///
/// # Errors
/// [`LoadError`]: it could not be run.
pub fn run(args: &HoldArgs) -> Result<Exit, LoadError> {
    if !(0.0..=86_400.0).contains(&args.seconds) || !(0.0..=3_600.0).contains(&args.settle_seconds) {
        return Err(LoadError::BadConfig("--seconds or --settle-seconds is out of range".to_owned()));
    }
    let target = Target::parse(&args.url)?;
    let mut meter = ServerMeter::new(&args.admin)?;
    let users = users::read_users_file(&args.users_file, args.users.unwrap_or(usize::MAX))?;
    let sessions = users.len();
    if sessions < 2 || args.users.is_some_and(|users| users > sessions) {
        let why = format!("it has {sessions} users: at least 2 are needed, and as many as --users says");
        return Err(LoadError::BadUsersFile { path: args.users_file.display().to_string(), why });
    }
    let before = meter.read()?;
    let config = LoadConfig {
        rate_per_s: 0.0,
        threads: default_threads(),
        connects_per_s: args.connect_rate,
        ..LoadConfig::new(target, users)
    };
    let load = ChatLoad::start_some(config, sessions / 2)?;
    wait_connected(&load, sessions / 2, args.connect_rate)?;
    let half = settled(args, &mut meter)?;
    load.let_connect(sessions);
    wait_connected(&load, sessions, args.connect_rate)?;
    let all = settled(args, &mut meter)?;
    say(format_args!("{sessions} sessions held, {} s", args.seconds));
    let disconnects_before = load.progress().disconnects;
    let began = Instant::now();
    std::thread::sleep(Duration::from_secs_f64(args.seconds));
    let after = meter.read()?;
    let disconnects = load.progress().disconnects - disconnects_before;
    let report = HoldReport {
        sessions,
        seconds: args.seconds,
        rss_bytes_before: before.rss_bytes,
        rss_bytes_half: half.rss_bytes,
        rss_bytes_all: all.rss_bytes,
        rss_bytes_per_session: (all.rss_bytes as f64 - half.rss_bytes as f64)
            / (sessions - sessions / 2) as f64,
        cpu_s_per_s: (after.cpu_s - all.cpu_s) / began.elapsed().as_secs_f64(),
        disconnects,
    };
    println!("{sessions} sessions · {:.0} bytes of server memory a session", report.rss_bytes_per_session);
    println!("server   {:.4} s of CPU a second while idle", report.cpu_s_per_s);
    println!(
        "memory   {:.1} MiB before · {:.1} with half · {:.1} with all",
        mib(before.rss_bytes),
        mib(half.rss_bytes),
        mib(all.rss_bytes)
    );
    println!("disconnects {disconnects} {}", trouble_of(&load));
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    Ok(if disconnects == 0 { Exit::Ok } else { Exit::Broken })
}

fn mib(bytes: u64) -> f64 {
    bytes as f64 / 1_048_576.0
}

fn settled(args: &HoldArgs, meter: &mut ServerMeter) -> Result<ServerUse, LoadError> {
    std::thread::sleep(Duration::from_secs_f64(args.settle_seconds));
    meter.read()
}
