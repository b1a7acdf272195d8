//! `gochat-perf connect`: people come, learn where they stand, and go, at a rate.

mod caller;

use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::fleet::bring_users;
use super::schedule::Schedule;
use super::{Brought, Options, Scenario, Stage, bad, check_seconds, say};
use crate::config::{Target, random_run};
use crate::error::LoadError;
use crate::latency::Percentiles;
use crate::report::{Better, SendingWindow};
use crate::users;
use caller::{Caller, Met, Person};

#[derive(Debug, Args, Serialize)]
pub(crate) struct Connect {
    #[command(flatten)]
    #[serde(flatten)]
    options: Options,
    /// Users with tokens, as `gochat seed` writes them, instead of registering new ones
    #[arg(long)]
    users_file: Option<std::path::PathBuf>,
    /// Users, who connect in turn: a server limits how often one may
    #[arg(long, default_value_t = 100)]
    users: usize,
    /// Connects that become due each second. 0: each of --in-flight comes again as soon as it has gone
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// Connects under way at a time; one that becomes due above this waits, and its latency counts on
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Each logs in by REST first: the server hashes a password for it
    #[arg(long)]
    login: bool,
    /// The password of all in the users file, as `gochat seed` has it by default
    #[arg(long, default_value = "load-test-password")]
    password: String,
    /// How long connects become due
    #[arg(long, default_value_t = 10.0)]
    seconds: f64,
    /// A connect or an answer that takes longer has failed
    #[arg(long, default_value_t = 10.0)]
    deadline_seconds: f64,
}

/// `result` in the report of `gochat-perf connect`. These keys are kept.
#[derive(Debug, Serialize)]
struct ConnectResult {
    #[serde(flatten)]
    met: Met,
    /// Ready a second while connects became due.
    rate: f64,
    server_cpu_us_per_connect: Option<f64>,
    /// Due → token, if they logged in; due → upgraded; due → told where the conversations stand.
    login_us: Option<Percentiles>,
    upgraded_us: Percentiles,
    ready_us: Percentiles,
}

impl Scenario for Connect {
    const NAME: &'static str = "connect";

    fn options(&self) -> &Options {
        &self.options
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.users == 0 || !(1..=4_096).contains(&self.in_flight) {
            return bad("--users must be above 0, and --in-flight between 1 and 4096");
        }
        if !(0.0..=1e6).contains(&self.rate) || self.seconds <= 0.0 || self.deadline_seconds < 0.001 {
            return bad("--seconds and --deadline-seconds must be above 0, and --rate between 0 and 1000000");
        }
        check_seconds("--seconds and --deadline-seconds", &[self.seconds, self.deadline_seconds])
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let people = Arc::new(self.people(&stage.target)?);
        let pace =
            if self.rate > 0.0 { format!("{} connects/s", self.rate) } else { "a closed loop".to_owned() };
        say(format_args!(
            "{} users, {pace}, up to {} at a time, for {} s",
            self.users, self.in_flight, self.seconds
        ));
        let met = Arc::new(Mutex::new(Met::default()));
        let mut start = stage.begin_window()?;
        let (began, lasting) = (Instant::now() + LEAD_IN, Duration::from_secs_f64(self.seconds));
        let schedule = Arc::new(Schedule::new(began, lasting, (self.rate > 0.0).then_some(self.rate)));
        let callers = self.start(&stage.target, &people, &schedule, &met)?;
        stage.begin_intervals_at(&mut start, began);
        watch(&met, began, began + lasting, stage)?;
        let window = stage.end_window(&start, look(&met).ready)?;
        let failed = callers.into_iter().map(JoinHandle::join).filter(Result::is_err).count();
        let mut brought = bring(look(&met), window);
        if failed > 0 {
            brought.broken.push(format!("{failed} threads of this program failed"));
        }
        Ok(brought)
    }
}

/// So that no thread comes late to the first.
const LEAD_IN: Duration = Duration::from_millis(100);

/// What was met so far; what is fresh in it is taken.
fn look(met: &Mutex<Met>) -> Met {
    let mut met = met.lock().unwrap_or_else(PoisonError::into_inner);
    let seen = met.clone();
    met.fresh.clear();
    seen
}

fn watch(met: &Mutex<Met>, began: Instant, until: Instant, stage: &mut Stage) -> Result<(), LoadError> {
    while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
        std::thread::sleep(rest.min(Duration::from_secs(1)));
        let now = look(met);
        let interval = stage.end_interval(now.ready, &now.fresh)?;
        let latency = interval.latency_us.map_or(String::new(), |us| us.to_string());
        say(format_args!(
            "{:>5.1} s  ready {} (+{})  {latency}  refused {}  failed {} {}",
            began.elapsed().as_secs_f64(),
            now.ready,
            interval.done,
            now.refused_with_time + now.refused_without_retry_after,
            now.failed,
            now.trouble
        ));
    }
    Ok(())
}

impl Connect {
    fn people(&self, target: &Target) -> Result<Vec<Person>, LoadError> {
        let run = random_run();
        let found = bring_users(self.users_file.as_deref(), self.users, &run, target)?;
        let logins: Vec<(String, String)> = match &self.users_file {
            _ if !self.login => Vec::new(),
            Some(path) => {
                let names = users::read_names(path, self.users)?;
                names.into_iter().map(|name| (name, self.password.clone())).collect()
            }
            None => {
                let named = |index| (users::registered_name(&run, index), users::registered_password(&run));
                (0..self.users).map(named).collect()
            }
        };
        let mut logins = logins.into_iter();
        Ok(found.into_iter().map(|user| Person { token: user.token, login: logins.next() }).collect())
    }

    fn start(
        &self,
        target: &Target,
        people: &Arc<Vec<Person>>,
        schedule: &Arc<Schedule>,
        met: &Arc<Mutex<Met>>,
    ) -> Result<Vec<JoinHandle<()>>, LoadError> {
        let deadline = Duration::from_secs_f64(self.deadline_seconds);
        let start_one = |number: usize| {
            let (people, schedule, met) = (people.clone(), schedule.clone(), met.clone());
            let mut caller = Caller::new(target.clone(), deadline);
            let thread = std::thread::Builder::new().name(format!("caller-{number}")).spawn(move || {
                while let Some((number, due)) = schedule.wait_due() {
                    caller.connect(number, due, &people[number as usize % people.len()], &met);
                }
            });
            thread.map_err(|source| LoadError::Io { what: "no thread", source })
        };
        (0..self.in_flight).map(start_one).collect()
    }
}

fn bring(met: Met, window: SendingWindow) -> Brought {
    let latencies = met.latencies.clone();
    let result = ConnectResult {
        rate: window.rate(),
        server_cpu_us_per_connect: window.server_cpu_us_per_op(),
        login_us: (latencies.login.len() > 0).then(|| latencies.login.percentiles()),
        upgraded_us: latencies.upgraded.percentiles(),
        ready_us: latencies.ready.percentiles(),
        met,
    };
    result.print(&window);
    let mut brought = Brought {
        figures: window.figures(),
        main_latency: Some("ready"),
        result: serde_json::to_value(&result).unwrap_or_default(),
        ..Brought::default()
    };
    let met = result.met;
    let figures = &mut brought.figures;
    figures.add("failed", met.failed as f64, "", Better::Lower);
    figures.add("refused_with_time", met.refused_with_time as f64, "", Better::Lower);
    for (name, latency) in
        [("login", latencies.login), ("upgraded", latencies.upgraded), ("ready", latencies.ready)]
    {
        if latency.len() > 0 {
            brought.latencies.insert(name, latency);
        }
    }
    if met.refused_without_retry_after > 0 {
        let silent = met.refused_without_retry_after;
        brought.broken.push(format!("{silent} log-ins and upgrades were refused without a Retry-After"));
    }
    if met.ready == 0 {
        brought.broken.push(format!("nobody got through; the last trouble: {}", met.trouble));
    }
    brought.broken.extend(met.wrong);
    brought
}

impl ConnectResult {
    fn print(&self, window: &SendingWindow) {
        let met = &self.met;
        println!(
            "ready {} · {} a second · refused with a time {} · without {} · failed {} {}",
            met.ready,
            self.rate,
            met.refused_with_time,
            met.refused_without_retry_after,
            met.failed,
            met.trouble
        );
        if let Some(us) = &self.login_us {
            println!("login    {us}");
        }
        println!("upgraded {}", self.upgraded_us);
        println!("ready    {}", self.ready_us);
        let or_unknown = |us: Option<f64>| us.map_or("unknown".to_owned(), |us| format!("{us} µs"));
        println!(
            "CPU a connect: server {} · client {}",
            or_unknown(self.server_cpu_us_per_connect),
            or_unknown(window.client_cpu_us_per_op())
        );
    }
}
