//! `gochat-perf chat`: users talk in pairs at a fixed rate, and everything that they said is checked.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use super::{Exit, course, default_threads, say, wait_connected, write_json};
use crate::config::{LoadConfig, Target, random_run};
use crate::error::LoadError;
use crate::load::ChatLoad;
use crate::server_meter::ServerMeter;

#[derive(Debug, Args)]
pub struct ChatArgs {
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Users, who talk in pairs: an even number
    #[arg(long, default_value_t = 100)]
    pub users: usize,
    /// Messages that become due each second, over all users
    #[arg(long, default_value_t = 100.0)]
    pub rate: f64,
    /// How long messages become due
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Write the result here too
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// Users with tokens, as `gochat seed` writes them, instead of registering new ones
    #[arg(long)]
    pub users_file: Option<PathBuf>,
    /// The server's admin port, for its CPU time and memory
    #[arg(long)]
    pub admin: Option<String>,
    /// The order of senders and all jitter [default: random]
    #[arg(long)]
    pub seed: Option<u64>,
    /// Threads of the load [default: half of the cores]
    #[arg(long)]
    pub threads: Option<usize>,
    /// Bytes of content in each message
    #[arg(long, default_value_t = 100)]
    pub content_bytes: usize,
    /// New connections a second
    #[arg(long, default_value_t = 500.0)]
    pub connect_rate: f64,
    /// How long the unfinished may take after the sending, and how long the final reading
    #[arg(long, default_value_t = 120.0)]
    pub settle_seconds: f64,
}

/// Runs the load and judges it.
///
/// # Errors
/// [`LoadError`]: it could not be run. What the server did wrong is in the exit code.
pub fn run(args: &ChatArgs) -> Result<Exit, LoadError> {
    check_args(args)?;
    let target = Target::parse(&args.url)?;
    let mut meter = args.admin.as_deref().map(ServerMeter::new).transpose()?;
    let run = random_run();
    let users = course::bring_users(args.users_file.as_deref(), args.users, &target, &run)?;
    let load = ChatLoad::start(LoadConfig {
        rate_per_s: args.rate,
        run,
        seed: args.seed.unwrap_or_else(|| fastrand::u64(..)),
        threads: args.threads.unwrap_or_else(default_threads),
        content_bytes: args.content_bytes,
        connects_per_s: args.connect_rate,
        ..LoadConfig::new(target, users)
    })?;
    wait_connected(&load, args.users, args.connect_rate)?;
    say(format_args!("{} sessions, {} messages/s for {} s", args.users, args.rate, args.seconds));
    let window = course::send(&load, Duration::from_secs_f64(args.seconds), meter.as_mut())?;
    let outcome = course::settle(load, args.users, Duration::from_secs_f64(args.settle_seconds));
    let judged = course::judge(&outcome, &window);
    judged.print(&outcome, &window);
    if let Some(path) = &args.json {
        write_json(path, &judged.report)?;
    }
    Ok(judged.exit)
}

fn check_args(args: &ChatArgs) -> Result<(), LoadError> {
    let bad = |why: &str| Err(LoadError::BadConfig(why.to_owned()));
    if args.users < 2 || !args.users.is_multiple_of(2) {
        return bad("--users must be even and at least 2: users talk in pairs");
    }
    if !(args.rate > 0.0 && (0.0..=86_400.0).contains(&args.seconds) && args.seconds > 0.0) {
        return bad("--rate and --seconds must be above 0, and --seconds at most 86400");
    }
    if !(0.0..=86_400.0).contains(&args.settle_seconds) {
        return bad("--settle-seconds must be between 0 and 86400");
    }
    Ok(())
}
