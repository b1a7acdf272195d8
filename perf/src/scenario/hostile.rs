//! `gochat-perf hostile`: the same chat with and without misbehaving connections beside it, by turns.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Exit, course, default_threads, say, wait_connected, write_json};
use crate::config::{LoadConfig, Target, random_run};
use crate::error::LoadError;
use crate::load::{ChatLoad, LoadOutcome};
use crate::misbehave::{BadClients, Crowd, Fate, Kind};
use crate::report::{ChatReport, Percentiles};
use crate::tally::Latencies;
use crate::users::User;

#[derive(Debug, Args)]
pub struct HostileArgs {
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Good users, who talk in pairs: an even number
    #[arg(long, default_value_t = 100)]
    pub users: usize,
    /// Misbehaving connections, their kinds dealt out in turn: eight make one of each
    #[arg(long, default_value_t = 40)]
    pub bad_clients: usize,
    /// Users with tokens, as `gochat seed` writes them: good ones, bad ones and one more who talks to the crowd;
    /// without a file they are registered
    #[arg(long)]
    pub users_file: Option<PathBuf>,
    /// Messages of the good users that become due each second
    #[arg(long, default_value_t = 500.0)]
    pub rate: f64,
    /// How long each turn sends
    #[arg(long, default_value_t = 10.0)]
    pub seconds: f64,
    /// Turns of each kind: without, with, without, with, …
    #[arg(long, default_value_t = 3)]
    pub rounds: u32,
    /// Messages of 2 KiB a second in world and in a group of the bad ones, in all turns
    #[arg(long, default_value_t = 5.0)]
    pub crowd_rate: f64,
    /// Frames a second of each flooder
    #[arg(long, default_value_t = 2000)]
    pub flood_frames_per_s: u32,
    /// Write the result here too
    #[arg(long)]
    pub json: Option<PathBuf>,
    /// New connections a second of the good ones
    #[arg(long, default_value_t = 500.0)]
    pub connect_rate: f64,
    /// How long the unfinished of a turn may take, with the final reading
    #[arg(long, default_value_t = 120.0)]
    pub settle_seconds: f64,
}

/// The JSON file of `gochat-perf hostile`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct HostileReport {
    users: usize,
    bad_clients: usize,
    rounds: u32,
    /// The good users while nobody misbehaved.
    without: Side,
    /// The good users beside the bad ones.
    with: Side,
    /// What became of the bad ones.
    kinds: Vec<Fate>,
    /// Messages in world and the group, over all turns.
    crowd_messages: u64,
}

/// The good users over all turns of one kind.
#[derive(Debug, Clone, Serialize)]
struct Side {
    stored: u64,
    delivered: u64,
    lost: u64,
    doubled: u64,
    out_of_order: u64,
    /// Connections of good users that ended while they chatted.
    disconnects: u64,
    retries: u64,
    ack_us: Percentiles,
    deliver_us: Percentiles,
}

/// What one kind of turns has brought so far.
#[derive(Default)]
struct Sum {
    reports: Vec<ChatReport>,
    latencies: Latencies,
    disconnects: u64,
    retries: u64,
    is_broken: bool,
}

impl Sum {
    fn side(&self) -> Side {
        let sum = |of: fn(&ChatReport) -> u64| self.reports.iter().map(of).sum();
        Side {
            stored: sum(|report| report.stored),
            delivered: sum(|report| report.delivered),
            lost: sum(|report| report.lost),
            doubled: sum(|report| report.doubled),
            out_of_order: sum(|report| report.out_of_order),
            disconnects: self.disconnects,
            retries: self.retries,
            ack_us: Percentiles::of(&self.latencies.ack),
            deliver_us: Percentiles::of(&self.latencies.deliver),
        }
    }
}

/// Runs the turns and judges each.
///
/// # Errors
/// [`LoadError`]: it could not be run. What the server did wrong is in the exit code.
pub fn run(args: &HostileArgs) -> Result<Exit, LoadError> {
    check_args(args)?;
    let target = Target::parse(&args.url)?;
    let count = args.users + args.bad_clients + 1;
    let users = course::bring_users(args.users_file.as_deref(), count, &target, &random_run())?;
    let (good, rest) = users.split_at(args.users);
    let (bad, talkers) = rest.split_at(args.bad_clients);
    let crowd = Crowd::start(&target, &talkers[0], bad, args.crowd_rate)?;
    let (mut without, mut with) = (Sum::default(), Sum::default());
    let mut fates: Vec<Fate> = Kind::ALL.iter().map(|kind| Fate::new(*kind)).collect();
    for round in 1..=args.rounds {
        say(format_args!("round {round} of {}: nobody misbehaves", args.rounds));
        run_turn(args, &target, good, &mut without)?;
        say(format_args!("round {round} of {}: {} misbehave", args.rounds, bad.len()));
        let bad_clients = BadClients::start(&target, bad, args.flood_frames_per_s)?;
        run_turn(args, &target, good, &mut with)?;
        let ended = bad_clients.stop();
        fates.iter_mut().zip(&ended).for_each(|(sum, fate)| sum.add(fate));
    }
    let report = HostileReport {
        users: args.users,
        bad_clients: args.bad_clients,
        rounds: args.rounds,
        without: without.side(),
        with: with.side(),
        kinds: fates,
        crowd_messages: crowd.said(),
    };
    print(&report);
    if let Some(path) = &args.json {
        write_json(path, &report)?;
    }
    Ok(if without.is_broken || with.is_broken { Exit::Broken } else { Exit::Ok })
}

fn check_args(args: &HostileArgs) -> Result<(), LoadError> {
    let bad = |why: &str| Err(LoadError::BadConfig(why.to_owned()));
    if args.users < 2 || !args.users.is_multiple_of(2) {
        return bad("--users must be even and at least 2: users talk in pairs");
    }
    if args.bad_clients == 0 || args.rounds == 0 {
        return bad("--bad-clients and --rounds must be above 0");
    }
    let paces = [args.rate, args.crowd_rate, args.seconds];
    let in_range = paces.iter().all(|pace| *pace > 0.0 && *pace <= 1e6);
    if !in_range || !(0.0..=86_400.0).contains(&args.settle_seconds) {
        return bad("--rate, --crowd-rate and --seconds must be above 0, and --settle-seconds at most 86400");
    }
    Ok(())
}

/// One turn of chat: connects, sends, settles, judges.
fn run_turn(args: &HostileArgs, target: &Target, good: &[User], sum: &mut Sum) -> Result<(), LoadError> {
    let load = ChatLoad::start(LoadConfig {
        rate_per_s: args.rate,
        threads: default_threads(),
        connects_per_s: args.connect_rate,
        ..LoadConfig::new(target.clone(), good.to_vec())
    })?;
    wait_connected(&load, good.len(), args.connect_rate)?;
    let window = course::send(&load, Duration::from_secs_f64(args.seconds), None)?;
    let outcome = course::settle(load, good.len(), Duration::from_secs_f64(args.settle_seconds));
    let judged = course::judge(&outcome, &window);
    if judged.exit != Exit::Ok {
        judged.print(&outcome, &window);
    }
    take(sum, &outcome, judged);
    Ok(())
}

fn take(sum: &mut Sum, outcome: &LoadOutcome, judged: course::Judged) {
    sum.is_broken |= judged.exit != Exit::Ok;
    sum.reports.push(judged.report);
    sum.latencies.merge(&outcome.latencies);
    sum.disconnects += outcome.progress.disconnects;
    sum.retries += outcome.progress.retried;
}

fn print(report: &HostileReport) {
    for (name, side) in [("without", &report.without), ("with", &report.with)] {
        println!(
            "{name:8} stored {} · delivered {} · lost {} · doubled {} · out of order {} · disconnects {} · retries {}",
            side.stored,
            side.delivered,
            side.lost,
            side.doubled,
            side.out_of_order,
            side.disconnects,
            side.retries
        );
        println!("         ack     {}", side.ack_us);
        println!("         deliver {}", side.deliver_us);
    }
    for fate in &report.kinds {
        println!(
            "{:17} misbehaved {} · ended by the server {} · refused {} · failed {}",
            format!("{:?}", fate.kind),
            fate.misbehaved,
            fate.ended_by_server,
            fate.refused,
            fate.failed
        );
    }
    println!("messages in world and the group: {}", report.crowd_messages);
}
