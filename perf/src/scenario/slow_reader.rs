//! `gochat-perf slow-reader`: a conversation in which some, by turns, read slowly or stop reading for a while.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::sides::{self, Side, Sum};
use super::{Brought, Fleet, Options, Scenario, Stage, bad, check_seconds, course, say};
use crate::config::{Habits, LoadConfig, Room};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::report::Better;
use crate::rest::Rest;

#[derive(Debug, Args, Serialize)]
pub(crate) struct SlowReader {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    fleet: Fleet,
    /// Members who write and read at once
    #[arg(long, default_value_t = 50)]
    users: usize,
    /// Members who only read, and slowly in every second turn
    #[arg(long, default_value_t = 10)]
    slow_users: usize,
    /// In world instead of a group: its messages may be left out for who is slow, with a `gap`
    #[arg(long)]
    world: bool,
    /// Messages that become due each second; each goes to all others
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// How long each turn sends
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// How long of that the slow ones are slow, from its beginning; then they read on
    #[arg(long, default_value_t = 6.0)]
    slow_seconds: f64,
    /// Bytes of frames that a slow one takes each second; 0: it stops reading
    #[arg(long, default_value_t = 0)]
    slow_bytes_per_s: u64,
    /// Turns of each kind: without, with, without, with, …
    #[arg(long, default_value_t = 2)]
    rounds: u32,
    /// The pause after connecting: a server may remember for some seconds that members were away
    #[arg(long, default_value_t = 3.0)]
    warm_seconds: f64,
    /// How long the unfinished of a turn may take, with what the slow ones catch up and the final reading
    #[arg(long, default_value_t = 120.0)]
    settle_seconds: f64,
}

/// `result` in the report of `gochat-perf slow-reader`. These keys are kept.
#[derive(Debug, Serialize)]
struct SlowReaderResult {
    users: usize,
    slow_users: usize,
    rounds: u32,
    /// The others while nobody was slow, and while some were.
    without: Side,
    with: Side,
    /// The slow ones, in the turns in which they were slow: due → given to the application, in order, which is after they
    /// have caught up for what came meanwhile.
    slow_us: Percentiles,
    /// Connections of slow ones that ended in these turns, and of these with the word 1013.
    ended: u64,
    ended_with_1013: u64,
    /// `gap` frames, and messages that were left out by them.
    gaps: u64,
    left_out: u64,
}

impl Scenario for SlowReader {
    const NAME: &'static str = "slow-reader";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.users < 2 || self.slow_users == 0 || self.rounds == 0 {
            return bad("--users must be at least 2, and --slow-users and --rounds above 0");
        }
        if !(self.rate > 0.0 && self.rate <= 1e6 && self.seconds > 0.0) {
            return bad("--rate and --seconds must be above 0");
        }
        let times = [self.seconds, self.slow_seconds, self.warm_seconds, self.settle_seconds];
        check_seconds("--seconds, --slow-seconds, --warm-seconds and --settle-seconds", &times)?;
        if self.slow_seconds > self.seconds {
            return bad(
                "--slow-seconds must not be above --seconds: who was slow reads on while others still write",
            );
        }
        Ok(())
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let users = self.fleet.bring_users(self.users + self.slow_users, &stage.target)?;
        let conversation_id = if self.world {
            "world".to_owned()
        } else {
            Rest::as_user(stage.target.clone(), &users[0].token).make_group("slow-reader", &users[1..])?
        };
        let room = Room { conversation_id, users };
        let (mut without, mut with) = (Sum::default(), Sum::default());
        let (mut ended, mut ended_with_1013, mut gaps, mut left_out) = (0, 0, 0, 0);
        for round in 1..=self.rounds {
            say(format_args!("round {round} of {}: nobody is slow", self.rounds));
            without.take(self.run_turn(stage, room.clone(), 0.0)?);
            say(format_args!("round {round} of {}: {} are slow", self.rounds, self.slow_users));
            let progress = with.take(self.run_turn(stage, room.clone(), self.slow_seconds)?);
            ended += progress.slow_ended;
            ended_with_1013 += progress.slow_ended_with_1013;
            gaps += progress.gaps_told;
            left_out += progress.left_out;
        }
        let result = SlowReaderResult {
            users: self.users,
            slow_users: self.slow_users,
            rounds: self.rounds,
            without: without.side(),
            with: with.side(),
            slow_us: with.latencies.slow.percentiles(),
            ended,
            ended_with_1013,
            gaps,
            left_out,
        };
        result.print();
        let slow = with.latencies.slow.clone();
        let mut brought = sides::bring(&result, without, with);
        brought.latencies.insert("slow", slow);
        for (name, count) in [
            ("slow.ended", ended),
            ("slow.ended_with_1013", ended_with_1013),
            ("gap_frames", gaps),
            ("left_out", left_out),
        ] {
            brought.figures.add(name, count as f64, "", Better::Neither);
        }
        Ok(brought)
    }
}

impl SlowReader {
    /// One turn: connects, sends, settles, judges.
    fn run_turn(
        &self,
        stage: &mut Stage,
        room: Room,
        slow_seconds: f64,
    ) -> Result<course::Judged, LoadError> {
        let members = room.users.len();
        let habits = Habits {
            // In both kinds of turns, so that both measure the same users.
            slow_members: self.slow_users,
            slow_ms: (slow_seconds * 1000.0) as u64,
            slow_bytes_per_s: self.slow_bytes_per_s,
            ..Habits::default()
        };
        let config = LoadConfig {
            rooms: vec![room],
            rate_per_s: self.rate,
            writers_max: self.users,
            habits,
            ..self.fleet.config(stage, Vec::new(), 0.0)
        };
        let load = self.fleet.start(stage, config)?;
        self.fleet.wait_connected(&load, members)?;
        load.rest(Duration::from_secs_f64(self.warm_seconds))?;
        let window = course::send(&load, Duration::from_secs_f64(self.seconds), stage)?;
        let outcome = course::settle(load, members, Duration::from_secs_f64(self.settle_seconds))?;
        Ok(course::judge(outcome, window))
    }
}

impl SlowReaderResult {
    fn print(&self) {
        sides::print(&self.without, &self.with);
        println!("slow     deliver {}", self.slow_us);
        println!(
            "slow     connections ended {}, with 1013 {} · gaps {} · messages left out by them {}",
            self.ended, self.ended_with_1013, self.gaps, self.left_out
        );
    }
}
