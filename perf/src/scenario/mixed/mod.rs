//! `gochat-perf mixed`: a mobile day. Few of many conversations are busy, most sessions idle, connections come and go, and
//! people look into their histories.

mod hits;
mod readers;

use std::sync::atomic::AtomicU64;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::course::{self, ChatResult, Judged};
use super::schedule::Schedule;
use super::{Brought, Fleet, Options, Scenario, Stage, bad, check_seconds, say};
use crate::config::{Habits, LoadConfig, Room};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::report::{Better, Figures};
use crate::rest::Rest;
use crate::users::User;
use crate::wire;
use hits::{CacheMeter, Looks, share};
use readers::{Place, Plan, Readers, Readings};

#[derive(Debug, Args, Serialize)]
pub(crate) struct Mixed {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    fleet: Fleet,
    /// Sessions: those of the groups, and the others in pairs, whose number must be even
    #[arg(long, default_value_t = 200)]
    users: usize,
    /// The groups, by their members
    #[arg(long, value_delimiter = ',', default_value = "4,6,10,20,40")]
    groups: Vec<usize>,
    /// Messages that become due each second, bursts included
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// How uneven conversations are: the n-th busiest has a share of 1 / n to this power. 0: all alike
    #[arg(long, default_value_t = 1.0)]
    zipf: f64,
    /// Share of the sessions that never write
    #[arg(long, default_value_t = 0.9)]
    idle_share: f64,
    /// Share of the turns at writing that are bursts
    #[arg(long, default_value_t = 0.1)]
    burst_share: f64,
    /// Messages of a burst, all due in one moment
    #[arg(long, default_value_t = 5)]
    burst_messages: u32,
    /// Share of the sessions whose connections are lost again and again
    #[arg(long, default_value_t = 0.1)]
    flap_share: f64,
    /// How long such a connection lasts, times 0.5 to 1.5
    #[arg(long, default_value_t = 5.0)]
    flap_seconds: f64,
    /// A client's first wait before it reconnects, times 0.5 to 1.0; doubled with each failure
    #[arg(long, default_value_t = 500)]
    backoff_min_ms: u64,
    /// Looks into histories that become due each second, over REST; 0: none
    #[arg(long, default_value_t = 20.0)]
    read_rate: f64,
    /// Of these, the share that moves a read pointer; the rest reads a page
    #[arg(long, default_value_t = 0.3)]
    mark_share: f64,
    /// Of the pages, the share that begins at any place of the history and not at its end
    #[arg(long, default_value_t = 0.2)]
    deep_share: f64,
    /// Messages of a page
    #[arg(long, default_value_t = 50)]
    page_messages: u32,
    /// Connections that the looks share; one that is due while all are busy waits, and its latency counts on
    #[arg(long, default_value_t = 8)]
    read_connections: usize,
    /// The admin port of the server that has the store's cache [default: --admin]
    #[arg(long)]
    store_admin: Option<String>,
    /// The pause after connecting: a server may remember for some seconds that members were away
    #[arg(long, default_value_t = 3.0)]
    warm_seconds: f64,
    /// How long messages become due
    #[arg(long, default_value_t = 20.0)]
    seconds: f64,
    /// How long the unfinished may take after the sending, with the final reading
    #[arg(long, default_value_t = 120.0)]
    settle_seconds: f64,
}

/// `result` in the report of `gochat-perf mixed`. These keys are kept.
#[derive(Debug, Serialize)]
struct MixedResult {
    sessions: usize,
    groups: usize,
    pairs: usize,
    /// Of the pages of messages that the store was asked for, the share that its cache had whole. `null`: the server does
    /// not say, or none was asked for.
    hit_ratio: Option<f64>,
    /// The same of all that the store looks up in its cache.
    hit_ratio_all: Option<f64>,
    /// Connections that were cut, those that were connected again, and level with the server again.
    cut: u64,
    back: u64,
    synced: u64,
    back_us: Percentiles,
    synced_us: Percentiles,
    /// Upgrades that the server refused with a time to come again, and without one: a broken promise.
    refused_with_retry_after: u64,
    refused_without_retry_after: u64,
    page_us: Percentiles,
    mark_us: Percentiles,
    readings: Readings,
    chat: ChatResult,
}

impl Scenario for Mixed {
    const NAME: &'static str = "mixed";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        let in_groups: usize = self.groups.iter().sum();
        if self.groups.iter().any(|members| *members < 3) {
            return bad("--groups: a group needs three members, two make a pair");
        }
        if in_groups > self.users || !(self.users - in_groups).is_multiple_of(2) || self.users == 0 {
            return bad(&format!(
                "--users must be the {in_groups} members of the --groups and an even number of others, who talk in pairs"
            ));
        }
        let shares = [self.idle_share, self.burst_share, self.flap_share, self.mark_share, self.deep_share];
        if !shares.iter().all(|share| (0.0..=1.0).contains(share)) {
            return bad(
                "--idle-share, --burst-share, --flap-share, --mark-share and --deep-share must be between 0 and 1",
            );
        }
        if !(self.rate > 0.0
            && self.rate <= 1e6
            && self.seconds > 0.0
            && (0.0..=1e5).contains(&self.read_rate))
        {
            return bad("--rate and --seconds must be above 0, and --read-rate between 0 and 100000");
        }
        if !(0.0..=10.0).contains(&self.zipf) || self.flap_seconds < 0.1 || self.burst_messages == 0 {
            return bad(
                "--zipf must be between 0 and 10, --flap-seconds at least 0.1 and --burst-messages above 0",
            );
        }
        if self.page_messages == 0 || !(1..=1_000).contains(&self.read_connections) {
            return bad("--page-messages must be above 0, and --read-connections between 1 and 1000");
        }
        let times = [self.seconds, self.warm_seconds, self.settle_seconds, self.flap_seconds];
        check_seconds("--seconds, --warm-seconds, --settle-seconds and --flap-seconds", &times)
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let mut cache = self.cache_meter()?;
        let users = self.fleet.bring_users(self.users, &stage.target)?;
        let config = self.config(stage, users)?;
        let places = places(&config);
        let seed = config.seed;
        let load = self.fleet.start(stage, config)?;
        self.fleet.wait_connected(&load, self.users)?;
        say(format_args!(
            "{} sessions, {} groups, {} messages/s and {} looks/s for {} s",
            self.users,
            self.groups.len(),
            self.rate,
            self.read_rate,
            self.seconds
        ));
        load.rest(Duration::from_secs_f64(self.warm_seconds))?;
        let before = read_cache(&mut cache)?;
        let lasting = Duration::from_secs_f64(self.seconds);
        let plan = Plan {
            target: stage.target.clone(),
            places,
            schedule: Schedule::new(
                Instant::now(),
                lasting,
                (self.read_rate > 0.0).then_some(self.read_rate),
            ),
            mark_share: self.mark_share,
            deep_share: self.deep_share,
            page_messages: self.page_messages,
            seed,
        };
        let connections = if self.read_rate > 0.0 { self.read_connections } else { 0 };
        let readers = Readers::start(plan, connections)?;
        let window = course::send(&load, lasting, stage)?;
        let readings = readers.stop();
        let after = read_cache(&mut cache)?;
        let looks = before.zip(after).map(|(before, after)| after.since(before));
        let outcome = course::settle(load, self.users, Duration::from_secs_f64(self.settle_seconds))?;
        Ok(self.bring(course::judge(outcome, window), readings, looks))
    }
}

/// `None`: no admin port, or one that does not count.
fn read_cache(cache: &mut Option<CacheMeter>) -> Result<Option<Looks>, LoadError> {
    Ok(cache.as_mut().map(CacheMeter::read).transpose()?.flatten())
}

impl Mixed {
    fn cache_meter(&self) -> Result<Option<CacheMeter>, LoadError> {
        self.store_admin.as_ref().or(self.options.admin.as_ref()).map(|url| CacheMeter::new(url)).transpose()
    }

    /// The groups are made here, each by its first member.
    fn config(&self, stage: &Stage, mut users: Vec<User>) -> Result<LoadConfig, LoadError> {
        let mut rooms = Vec::new();
        for members in &self.groups {
            let members = users.split_off(users.len() - members);
            let mut owner = Rest::as_user(stage.target.clone(), &members[0].token);
            let conversation_id = owner.make_group("mixed", &members[1..])?;
            rooms.push(Room { conversation_id, users: members });
        }
        let mut config = self.fleet.config(stage, users, self.rate);
        config.rooms = rooms;
        config.rules.backoff_min_ms = self.backoff_min_ms;
        config.habits = Habits {
            zipf_exponent: self.zipf,
            idle_share: self.idle_share,
            burst_share: self.burst_share,
            burst_messages: self.burst_messages,
            flap_share: self.flap_share,
            flap_every_ms: (self.flap_seconds * 1000.0) as u64,
            ..Habits::default()
        };
        Ok(config)
    }

    fn bring(&self, judged: Judged, readings: Readings, looks: Option<Looks>) -> Brought {
        judged.print();
        let progress = judged.progress();
        let result = MixedResult {
            sessions: self.users,
            groups: self.groups.len(),
            pairs: (self.users - self.groups.iter().sum::<usize>()) / 2,
            hit_ratio: looks.and_then(|looks| share(looks.pages_hit, looks.pages)),
            hit_ratio_all: looks.and_then(|looks| share(looks.all_hit, looks.all)),
            cut: progress.cut,
            back: progress.back,
            synced: progress.synced,
            back_us: judged.latencies().back.percentiles(),
            synced_us: judged.latencies().synced.percentiles(),
            refused_with_retry_after: progress.refused_with_retry_after,
            refused_without_retry_after: progress.refused_without_retry_after,
            page_us: readings.page_us.percentiles(),
            mark_us: readings.mark_us.percentiles(),
            readings,
            chat: judged.result.clone(),
        };
        result.print();
        let mut brought = judged.bring(&result);
        result.add_to(&mut brought.figures);
        let readings = result.readings;
        for (name, latency) in [("page", readings.page_us), ("mark", readings.mark_us)] {
            if latency.len() > 0 {
                brought.latencies.insert(name, latency);
            }
        }
        let silent = result.refused_without_retry_after + readings.refused_without_retry_after;
        if silent > 0 {
            brought.broken.push(format!("{silent} upgrades and requests were refused without a Retry-After"));
        }
        brought.broken.extend(readings.wrong);
        brought
    }
}

/// Where people look: in the same conversations that are busy.
fn places(config: &LoadConfig) -> Vec<Place> {
    let token = |user: &User| user.token.clone();
    let pairs = config
        .users
        .chunks(2)
        .map(|pair| (wire::single_conversation(pair[0].id, pair[1].id), pair.iter().map(token).collect()));
    let rooms = config
        .rooms
        .iter()
        .map(|room| (room.conversation_id.clone(), room.users.iter().map(token).collect()));
    let weights = config.conversation_weights();
    pairs
        .chain(rooms)
        .zip(weights)
        .map(|((conversation_id, tokens), weight)| Place {
            conversation_id,
            tokens,
            weight,
            newest: AtomicU64::new(0),
        })
        .collect()
}

impl MixedResult {
    fn add_to(&self, figures: &mut Figures) {
        figures.add("hit_ratio", self.hit_ratio, "", Better::Higher);
        figures.add("hit_ratio_all", self.hit_ratio_all, "", Better::Higher);
        figures.add("sessions", self.sessions as f64, "", Better::Neither);
        figures.add("cut", self.cut as f64, "", Better::Neither);
        let readings = &self.readings;
        figures.add("pages", readings.pages as f64, "", Better::Neither);
        figures.add("read_failures", readings.failed as f64, "", Better::Lower);
        let refused = self.refused_with_retry_after + readings.refused_with_retry_after;
        figures.add("refused_with_retry_after", refused as f64, "", Better::Lower);
    }

    fn print(&self) {
        let readings = &self.readings;
        println!("cut {} · back {} · synced {}", self.cut, self.back, self.synced);
        println!("back     {}", self.back_us);
        println!("synced   {}", self.synced_us);
        println!(
            "pages {} of {} messages · marked {} · not there yet {} · refused with Retry-After {} · without {} · failed {} {}",
            readings.pages,
            readings.messages,
            readings.marked,
            readings.not_there_yet,
            readings.refused_with_retry_after,
            readings.refused_without_retry_after,
            readings.failed,
            readings.trouble
        );
        println!("page     {}", self.page_us);
        println!("mark     {}", self.mark_us);
        match self.hit_ratio.zip(self.hit_ratio_all) {
            Some((pages, all)) => println!("cache    {pages} of the pages · {all} of all looks were hits"),
            None => {
                println!("cache    unknown: give an --admin port whose metrics have repo_cache_reads_total")
            }
        }
    }
}
