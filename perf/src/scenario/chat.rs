//! `gochat-perf chat`: users talk in pairs at a fixed rate, and everything that they said is checked.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;

use super::{Exit, default_threads, say, trouble_of, wait_connected, write_json};
use crate::checker;
use crate::config::{LoadConfig, Target, random_run};
use crate::error::LoadError;
use crate::load::{ChatLoad, LoadOutcome};
use crate::report::{ChatReport, Percentiles, SendingWindow};
use crate::server_meter::{ServerMeter, own_cpu_s};
use crate::tally::Progress;
use crate::users::{self, User};

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
    let users = bring_users(args, &target, &run)?;
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
    let window = send(&load, args, meter.as_mut())?;
    judge(args, &settle(load, args), &window)
}

/// The unfinished, the last deliveries and the final reading, with a line each second.
fn settle(load: ChatLoad, args: &ChatArgs) -> LoadOutcome {
    let deadline = Duration::from_secs_f64(args.settle_seconds);
    let until = Instant::now() + deadline;
    load.finish(deadline);
    say(format_args!("settling and reading every history"));
    let mut shown = Instant::now();
    while !load.is_finished() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(20));
        if shown.elapsed() >= Duration::from_secs(1) {
            shown = Instant::now();
            let now = load.progress();
            let open = now.sent - now.stored - now.rejected;
            say(format_args!("settling: {open} open, {} of {} histories read", now.finished, args.users));
        }
    }
    load.stop(until.saturating_duration_since(Instant::now()))
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

fn bring_users(args: &ChatArgs, target: &Target, run: &str) -> Result<Vec<User>, LoadError> {
    let Some(path) = &args.users_file else {
        say(format_args!("registering {} users", args.users));
        return users::register(target, args.users, run, |done| {
            if done.is_multiple_of(100) {
                say(format_args!("registered {done}"));
            }
        });
    };
    let users = users::read_users_file(path, args.users)?;
    if users.len() < args.users {
        let why = format!("it has {} users of the {} that --users asks for", users.len(), args.users);
        return Err(LoadError::BadUsersFile { path: path.display().to_string(), why });
    }
    Ok(users)
}

/// The time of sending, second by second.
fn send(
    load: &ChatLoad,
    args: &ChatArgs,
    mut meter: Option<&mut ServerMeter>,
) -> Result<SendingWindow, LoadError> {
    let server_before = meter.as_mut().map(|meter| meter.read()).transpose()?;
    let client_before = own_cpu_s();
    let lasting = Duration::from_secs_f64(args.seconds);
    let began = load.begin_for(lasting);
    let until = began + lasting;
    let mut last = Progress::default();
    while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::sleep(rest.min(Duration::from_secs(1)));
        let now = load.progress();
        show_progress(load, began.elapsed(), &last, &now);
        last = now;
    }
    let (seconds, stored) = (began.elapsed().as_secs_f64(), load.progress().stored);
    let server = meter.as_mut().map(|meter| meter.read()).transpose()?;
    Ok(SendingWindow {
        seconds,
        stored,
        server_cpu_s: server.zip(server_before).map(|(after, before)| after.cpu_s - before.cpu_s),
        server_rss_bytes: server.map(|server| server.rss_bytes),
        client_cpu_s: own_cpu_s() - client_before,
    })
}

fn show_progress(load: &ChatLoad, at: Duration, last: &Progress, now: &Progress) {
    let open = now.sent - now.stored - now.rejected;
    say(format_args!(
        "{:>5.1} s  sent {}  stored {} (+{})  delivered {}  open {open}  rejected {}  retries {}  connected {} {}",
        at.as_secs_f64(),
        now.sent,
        now.stored,
        now.stored - last.stored,
        now.delivered,
        now.rejected,
        now.retried,
        now.connected,
        if now.bad_frames + now.disconnects > last.bad_frames + last.disconnects {
            trouble_of(load)
        } else {
            String::new()
        },
    ));
}

fn judge(args: &ChatArgs, outcome: &LoadOutcome, window: &SendingWindow) -> Result<Exit, LoadError> {
    let verdict = checker::check(&outcome.history);
    let report = ChatReport::new(outcome, &verdict, window);
    let progress = &outcome.progress;
    println!("sent {} · stored {} · delivered {}", report.sent, report.stored, report.delivered);
    println!("rejected {} · rate {} messages/s", report.rejected, report.rate);
    println!("ack      {}", report.ack_us);
    println!("deliver  {}", report.deliver_us);
    println!(
        "retries {} · re-sent {} · holes synced {} · redelivered {} · resyncs {} · disconnects {} · skipped {} · \
         bad frames {}",
        progress.retried,
        progress.resent,
        progress.holes,
        progress.redelivered,
        progress.resyncs,
        progress.disconnects,
        progress.skipped,
        progress.bad_frames
    );
    if let (Some(cpu_us), Some(rss)) = (report.server_cpu_us_per_message, report.server_rss_bytes) {
        println!("server   {cpu_us} µs of CPU a message · {:.1} MiB resident", rss as f64 / 1_048_576.0);
    }
    println!(
        "client   {:.1} µs of CPU a message · late by {}",
        window.client_cpu_us_per_message(),
        Percentiles::of(&outcome.latencies.lateness)
    );
    println!("{verdict}");
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    if !outcome.is_complete() {
        println!(
            "INCOMPLETE: {} messages without a final answer, {} histories not read, {} threads of this program failed",
            outcome.unfinished, outcome.unread, outcome.panicked
        );
    }
    Ok(if verdict.holds() && outcome.is_complete() { Exit::Ok } else { Exit::Broken })
}
