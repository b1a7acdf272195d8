//! `gochat-perf group`, `world` and `fan-out`: one conversation of many, where each message has to reach everybody.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::course::{self, ChatResult};
use super::{Brought, Fleet, Options, Scenario, Stage, bad, check_seconds, say};
use crate::config::{LoadConfig, Room, Target};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::report::Better;
use crate::rest::Rest;
use crate::users::User;

/// What the three have in common.
#[derive(Debug, Args, Serialize)]
pub(crate) struct Talk {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    fleet: Fleet,
    /// How long messages become due
    #[arg(long, default_value_t = 15.0)]
    seconds: f64,
    /// The pause after connecting: a server may remember for some seconds that members were away
    #[arg(long, default_value_t = 3.0)]
    warm_seconds: f64,
    /// How long the unfinished and the last deliveries may take after the sending, with the final reading
    #[arg(long, default_value_t = 120.0)]
    settle_seconds: f64,
}

#[derive(Debug, Args, Serialize)]
pub(crate) struct Group {
    #[command(flatten)]
    #[serde(flatten)]
    talk: Talk,
    /// Members of the group, who take turns at writing
    #[arg(long, default_value_t = 500)]
    members: usize,
    /// Messages that become due each second; each goes to all others
    #[arg(long, default_value_t = 10.0)]
    rate: f64,
}

#[derive(Debug, Args, Serialize)]
pub(crate) struct World {
    #[command(flatten)]
    #[serde(flatten)]
    talk: Talk,
    /// Users who are online, and take turns at writing
    #[arg(long, default_value_t = 1000)]
    users: usize,
    /// Messages that become due each second; each goes to all others
    #[arg(long, default_value_t = 2.0)]
    rate: f64,
}

#[derive(Debug, Args, Serialize)]
pub(crate) struct FanOut {
    #[command(flatten)]
    #[serde(flatten)]
    talk: Talk,
    /// Members of the group who only read
    #[arg(long, default_value_t = 200)]
    receivers: usize,
    /// Messages of the one sender that become due each second
    #[arg(long, default_value_t = 50.0)]
    rate: f64,
    /// His messages on the wire without a final answer; those that become due above it wait, and their latency counts on
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
}

/// `result` in the report of these three. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct RoomResult {
    members: usize,
    /// Messages given to receivers a second, over the whole time of sending.
    deliveries_per_s: f64,
    server_cpu_us_per_delivery: Option<f64>,
    /// Of each message that reached everybody: due → given to the last of them.
    last_us: Percentiles,
    chat: ChatResult,
}

impl Scenario for Group {
    const NAME: &'static str = "group";

    fn options(&self) -> &Options {
        &self.talk.options
    }

    fn check(&self) -> Result<(), LoadError> {
        self.talk.check("--members", self.members, self.rate)
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let users = self.talk.fleet.bring_users(self.members, &stage.target)?;
        let room = make_group(&stage.target, users)?;
        self.talk.run(stage, room, |config| LoadConfig { rate_per_s: self.rate, ..config })
    }
}

impl Scenario for World {
    const NAME: &'static str = "world";

    fn options(&self) -> &Options {
        &self.talk.options
    }

    fn check(&self) -> Result<(), LoadError> {
        self.talk.check("--users", self.users, self.rate)
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let users = self.talk.fleet.bring_users(self.users, &stage.target)?;
        let room = Room { conversation_id: "world".to_owned(), users };
        self.talk.run(stage, room, |config| LoadConfig { rate_per_s: self.rate, ..config })
    }
}

impl Scenario for FanOut {
    const NAME: &'static str = "fan-out";

    fn options(&self) -> &Options {
        &self.talk.options
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.in_flight == 0 {
            return bad("--in-flight must be above 0");
        }
        self.talk.check("--receivers", self.receivers + 1, self.rate)
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let users = self.talk.fleet.bring_users(self.receivers + 1, &stage.target)?;
        let room = make_group(&stage.target, users)?;
        self.talk.run(stage, room, |mut config| {
            config.rules.in_flight_max = self.in_flight;
            LoadConfig { rate_per_s: self.rate, writers_max: 1, ..config }
        })
    }
}

/// The first of `users` makes a group of them all.
fn make_group(target: &Target, users: Vec<User>) -> Result<Room, LoadError> {
    let conversation_id =
        Rest::as_user(target.clone(), &users[0].token).make_group("fan-out", &users[1..])?;
    Ok(Room { conversation_id, users })
}

impl Talk {
    fn check(&self, what: &str, members: usize, rate: f64) -> Result<(), LoadError> {
        if members < 2 {
            return bad(&format!("{what}: a conversation needs two"));
        }
        if !(rate > 0.0 && rate <= 1e6 && self.seconds > 0.0) {
            return bad("--rate and --seconds must be above 0");
        }
        let times = [self.seconds, self.warm_seconds, self.settle_seconds];
        check_seconds("--seconds, --warm-seconds and --settle-seconds", &times)
    }

    fn run(
        &self,
        stage: &mut Stage,
        room: Room,
        how: impl FnOnce(LoadConfig) -> LoadConfig,
    ) -> Result<Brought, LoadError> {
        let members = room.users.len();
        let config = how(LoadConfig { rooms: vec![room], ..self.fleet.config(stage, Vec::new(), 0.0) });
        say(format_args!("{members} members, {} messages/s for {} s", config.rate_per_s, self.seconds));
        let load = self.fleet.start(stage, config)?;
        self.fleet.wait_connected(&load, members)?;
        load.rest(Duration::from_secs_f64(self.warm_seconds))?;
        let window = course::send(&load, Duration::from_secs_f64(self.seconds), stage)?;
        let delivered = load.progress()?.delivered;
        let outcome = course::settle(load, members, Duration::from_secs_f64(self.settle_seconds))?;
        let judged = course::judge(outcome, window);
        judged.print();
        let per_delivery =
            |cpu_s: f64| (delivered > 0).then(|| (cpu_s * 1e7 / delivered as f64).round() / 10.0);
        let result = RoomResult {
            members,
            deliveries_per_s: (delivered as f64 / window.seconds).round(),
            server_cpu_us_per_delivery: window.server_cpu_s.and_then(per_delivery),
            last_us: judged.latencies().last.percentiles(),
            chat: judged.result.clone(),
        };
        println!("last     {}", result.last_us);
        println!("{} deliveries/s to {members} members", result.deliveries_per_s);
        let mut brought = judged.bring(&result);
        let figures = &mut brought.figures;
        figures.add("members", members as f64, "", Better::Neither);
        figures.add("deliveries_rate", result.deliveries_per_s, "1/s", Better::Higher);
        figures.add("server_cpu_us_per_delivery", result.server_cpu_us_per_delivery, "us", Better::Lower);
        Ok(brought)
    }
}
