//! `gochat-perf hold`: many sessions, idle or with a chat among them, and what they cost the server.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{Exit, course, default_threads, mib, say, trouble_of, wait_connected, write_json};
use crate::config::{LoadConfig, Target};
use crate::error::LoadError;
use crate::load::ChatLoad;
use crate::report::ChatReport;
use crate::server_meter::{ServerMeter, ServerUse};
use crate::users::{self, User};

/// Memory grows in pages and arenas, some hundred KiB at a time: over fewer sessions than this between the two
/// measurements a slope would show those and not the sessions.
const SLOPE_SESSIONS_MIN: usize = 1_000;

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
    /// Messages that become due each second among all sessions; they are checked. 0: the sessions are idle
    #[arg(long, default_value_t = 0.0)]
    pub rate: f64,
    /// How long all sessions are held
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
    /// With a rate: how long the unfinished may take after the sending, with the final reading
    #[arg(long, default_value_t = 300.0)]
    pub finish_seconds: f64,
}

/// The JSON file of `gochat-perf hold`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct HoldReport {
    sessions: usize,
    seconds: f64,
    rss_bytes_before: u64,
    rss_bytes_half: u64,
    rss_bytes_all: u64,
    /// After the holding.
    rss_bytes_after: u64,
    /// The slope from half to all: what the first sessions make grow once is left out. `null`: too few sessions.
    rss_bytes_per_session: Option<f64>,
    /// CPU seconds of the server for each second of holding.
    cpu_s_per_s: f64,
    /// Sessions that ended while they were held.
    disconnects: u64,
    /// What `gochat-perf chat` reports, of the chat among the sessions. `null`: they were idle.
    chat: Option<ChatReport>,
}

/// The server with none, half and all of the sessions.
struct Growth {
    before: ServerUse,
    half: ServerUse,
    all: ServerUse,
}

impl Growth {
    fn bytes_per_session(&self, sessions: usize) -> Option<f64> {
        let between = sessions - sessions / 2;
        let grown = self.all.rss_bytes as f64 - self.half.rss_bytes as f64;
        (between >= SLOPE_SESSIONS_MIN).then(|| (grown / between as f64).round())
    }
}

/// Connects half, then all, holds them and reports.
///
/// # Errors
/// [`LoadError`]: it could not be run.
pub fn run(args: &HoldArgs) -> Result<Exit, LoadError> {
    check_args(args)?;
    let target = Target::parse(&args.url)?;
    let mut meter = ServerMeter::new(&args.admin)?;
    let users = read_users(args)?;
    let sessions = users.len();
    let before = meter.read()?;
    let config = LoadConfig {
        rate_per_s: args.rate,
        threads: default_threads(),
        connects_per_s: args.connect_rate,
        ..LoadConfig::new(target, users)
    };
    let load = ChatLoad::start_some(config, sessions / 2)?;
    wait_connected(&load, sessions / 2, args.connect_rate)?;
    let half = settled(args, &mut meter)?;
    load.let_connect(sessions);
    wait_connected(&load, sessions, args.connect_rate)?;
    let growth = Growth { before, half, all: settled(args, &mut meter)? };
    say(format_args!("{sessions} sessions, {} messages/s among them for {} s", args.rate, args.seconds));
    hold(args, load, &mut meter, sessions, &growth)
}

fn hold(
    args: &HoldArgs,
    load: ChatLoad,
    meter: &mut ServerMeter,
    sessions: usize,
    growth: &Growth,
) -> Result<Exit, LoadError> {
    let disconnects_before = load.progress().disconnects;
    let began = Instant::now();
    let lasting = Duration::from_secs_f64(args.seconds);
    let window = if args.rate > 0.0 {
        Some(course::send(&load, lasting, Some(&mut *meter))?)
    } else {
        std::thread::sleep(lasting);
        None
    };
    let after = meter.read()?;
    let held_s = began.elapsed().as_secs_f64();
    let disconnects = load.progress().disconnects - disconnects_before;
    let trouble = trouble_of(&load);
    let judged = window.map(|window| {
        let outcome = course::settle(load, sessions, Duration::from_secs_f64(args.finish_seconds));
        let judged = course::judge(&outcome, &window);
        judged.print(&outcome, &window);
        judged
    });
    let report = HoldReport {
        sessions,
        seconds: args.seconds,
        rss_bytes_before: growth.before.rss_bytes,
        rss_bytes_half: growth.half.rss_bytes,
        rss_bytes_all: growth.all.rss_bytes,
        rss_bytes_after: after.rss_bytes,
        rss_bytes_per_session: growth.bytes_per_session(sessions),
        cpu_s_per_s: (after.cpu_s - growth.all.cpu_s) / held_s,
        disconnects,
        chat: judged.as_ref().map(|judged| judged.report.clone()),
    };
    print(&report, &trouble);
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    let chat_holds = judged.is_none_or(|judged| judged.exit == Exit::Ok);
    Ok(if disconnects == 0 && chat_holds { Exit::Ok } else { Exit::Broken })
}

fn print(report: &HoldReport, trouble: &str) {
    let sessions = report.sessions;
    match report.rss_bytes_per_session {
        Some(bytes) => println!("{sessions} sessions · {bytes:.0} bytes of server memory a session"),
        None => println!(
            "{sessions} sessions · too few for the memory of one: the slope needs {SLOPE_SESSIONS_MIN} between half and all"
        ),
    }
    println!("server   {:.4} s of CPU a second while they were held", report.cpu_s_per_s);
    println!(
        "memory   {:.1} MiB before · {:.1} with half · {:.1} with all · {:.1} at the end",
        mib(report.rss_bytes_before),
        mib(report.rss_bytes_half),
        mib(report.rss_bytes_all),
        mib(report.rss_bytes_after)
    );
    println!("disconnects {} {trouble}", report.disconnects);
}

fn check_args(args: &HoldArgs) -> Result<(), LoadError> {
    let in_range = (0.0..=86_400.0).contains(&args.seconds)
        && (0.0..=3_600.0).contains(&args.settle_seconds)
        && (0.0..=86_400.0).contains(&args.finish_seconds);
    if !in_range {
        let why = "--seconds, --settle-seconds or --finish-seconds is out of range";
        return Err(LoadError::BadConfig(why.to_owned()));
    }
    Ok(())
}

fn read_users(args: &HoldArgs) -> Result<Vec<User>, LoadError> {
    let users = users::read_users_file(&args.users_file, args.users.unwrap_or(usize::MAX))?;
    let found = users.len();
    if found < 2 || args.users.is_some_and(|users| users > found) {
        let why = format!("it has {found} users: at least 2 are needed, and as many as --users says");
        return Err(LoadError::BadUsersFile { path: args.users_file.display().to_string(), why });
    }
    Ok(users)
}

fn settled(args: &HoldArgs, meter: &mut ServerMeter) -> Result<ServerUse, LoadError> {
    std::thread::sleep(Duration::from_secs_f64(args.settle_seconds));
    meter.read()
}
