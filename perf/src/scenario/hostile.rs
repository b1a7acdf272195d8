//! `gochat-perf hostile`: the same chat with and without misbehaving connections beside it, by turns.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::course;
use super::sides::{self, Side, Sum};
use super::{Brought, Fleet, Options, Scenario, Stage, bad, check_pairs, check_seconds, say};
use crate::error::LoadError;
use crate::misbehave::{BadClients, Crowd, Fate, Kind};
use crate::users::User;

/// The users file holds good ones, bad ones, and one more who talks to the crowd
#[derive(Debug, Args, Serialize)]
pub(crate) struct Hostile {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: Fleet,
    /// Good users, who talk in pairs: an even number
    #[arg(long, default_value_t = 100)]
    pub(crate) users: usize,
    /// Misbehaving connections, their kinds dealt out in turn: eight make one of each
    #[arg(long, default_value_t = 40)]
    pub(crate) bad_clients: usize,
    /// Messages of the good users that become due each second
    #[arg(long, default_value_t = 500.0)]
    pub(crate) rate: f64,
    /// How long each turn sends
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// Turns of each kind: without, with, without, with, …
    #[arg(long, default_value_t = 3)]
    pub(crate) rounds: u32,
    /// Messages of 2 KiB a second in world and in a group of the bad ones, in all turns
    #[arg(long, default_value_t = 5.0)]
    pub(crate) crowd_rate: f64,
    /// Frames a second of each flooder
    #[arg(long, default_value_t = 2000)]
    pub(crate) flood_frames_per_s: u32,
    /// How long the unfinished of a turn may take, with the final reading
    #[arg(long, default_value_t = 120.0)]
    pub(crate) settle_seconds: f64,
}

/// `result` in the report of `gochat-perf hostile`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct HostileResult {
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

impl Scenario for Hostile {
    const NAME: &'static str = "hostile";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        check_pairs(self.users)?;
        if self.bad_clients == 0 || self.rounds == 0 {
            return bad("--bad-clients and --rounds must be above 0");
        }
        let paces = [self.rate, self.crowd_rate, self.seconds];
        if !paces.iter().all(|pace| *pace > 0.0 && *pace <= 1e6) {
            return bad("--rate, --crowd-rate and --seconds must be above 0");
        }
        check_seconds("--seconds and --settle-seconds", &[self.seconds, self.settle_seconds])
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let count = self.users + self.bad_clients + 1;
        let users = self.fleet.bring_users(count, &stage.target)?;
        let (good, rest) = users.split_at(self.users);
        let (bad, talkers) = rest.split_at(self.bad_clients);
        let crowd = Crowd::start(&stage.target, &talkers[0], bad, self.crowd_rate)?;
        let (mut without, mut with) = (Sum::default(), Sum::default());
        let mut fates: Vec<Fate> = Kind::ALL.iter().map(|kind| Fate::new(*kind)).collect();
        for round in 1..=self.rounds {
            say(format_args!("round {round} of {}: nobody misbehaves", self.rounds));
            without.take(self.run_turn(stage, good)?);
            say(format_args!("round {round} of {}: {} misbehave", self.rounds, bad.len()));
            let bad_clients = BadClients::start(&stage.target, bad, self.flood_frames_per_s)?;
            with.take(self.run_turn(stage, good)?);
            let ended = bad_clients.stop();
            fates.iter_mut().zip(&ended).for_each(|(sum, fate)| sum.add(fate));
        }
        let result = HostileResult {
            users: self.users,
            bad_clients: self.bad_clients,
            rounds: self.rounds,
            without: without.side(),
            with: with.side(),
            kinds: fates,
            crowd_messages: crowd.said(),
        };
        print(&result);
        Ok(sides::bring(&result, without, with))
    }
}

impl Hostile {
    /// One turn of chat: connects, sends, settles, judges.
    fn run_turn(&self, stage: &mut Stage, good: &[User]) -> Result<course::Judged, LoadError> {
        let load = self.fleet.start(stage, self.fleet.config(stage, good.to_vec(), self.rate))?;
        self.fleet.wait_connected(&load, good.len())?;
        let window = course::send(&load, Duration::from_secs_f64(self.seconds), stage)?;
        let outcome = course::settle(load, good.len(), Duration::from_secs_f64(self.settle_seconds))?;
        Ok(course::judge(outcome, window))
    }
}

fn print(report: &HostileResult) {
    sides::print(&report.without, &report.with);
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
