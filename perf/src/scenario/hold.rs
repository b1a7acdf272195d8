//! `gochat-perf hold`: many sessions, idle or with a chat among them, and what they cost the server.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::course::{self, ChatResult};
use super::fleet::trouble_of;
use super::{Brought, Fleet, Load, Options, Scenario, Stage, bad, check_seconds, mib, say};
use crate::agent::Parts;
use crate::error::LoadError;
use crate::meter::{CONNECTIONS_MIN, Growth, Mark, ServerMeter};
use crate::report::{Better, Figures};
use crate::users::{self, User};

#[derive(Debug, Args, Serialize)]
pub(crate) struct Hold {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) options: Options,
    /// One session for each user of the file, which is needed here
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: Fleet,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) parts: Parts,
    /// Take only the first of them
    #[arg(long)]
    pub(crate) users: Option<usize>,
    /// Messages that become due each second among all sessions; they are checked. 0: the sessions are idle
    #[arg(long, default_value_t = 0.0)]
    pub(crate) rate: f64,
    /// How long all sessions are held
    #[arg(long, default_value_t = 30.0)]
    pub(crate) seconds: f64,
    /// The pause before each measurement, for what a connect leaves to do
    #[arg(long, default_value_t = 6.0)]
    pub(crate) settle_seconds: f64,
    /// With a rate: how long the unfinished may take after the sending, with the final reading
    #[arg(long, default_value_t = 300.0)]
    pub(crate) finish_seconds: f64,
}

/// `result` in the report of `gochat-perf hold`. These keys are kept.
#[derive(Debug, Clone, Serialize)]
struct HoldResult {
    sessions: usize,
    seconds: f64,
    rss_bytes_before: u64,
    rss_bytes_half: u64,
    rss_bytes_all: u64,
    /// After the holding.
    rss_bytes_after: u64,
    /// The slope from half to all: what the first sessions make grow once is left out. `null`: too few sessions.
    rss_bytes_per_session: Option<f64>,
    /// The kernel's memory likewise, at both ends of the connection. `null`: too few, or the server is on another machine.
    kernel_bytes_per_connection: Option<f64>,
    /// CPU seconds of the server for each second of holding.
    cpu_s_per_s: f64,
    /// Sessions that ended while they were held.
    disconnects: u64,
    /// What `gochat-perf chat` reports, of the chat among the sessions. `null`: they were idle.
    chat: Option<ChatResult>,
}

/// The server with none, half and all of the sessions.
struct Marks {
    before: Mark,
    half: Mark,
    all: Mark,
}

impl Scenario for Hold {
    const NAME: &'static str = "hold";

    fn options(&self) -> &Options {
        &self.options
    }

    fn parts(&self) -> Option<&Parts> {
        Some(&self.parts)
    }

    fn check(&self) -> Result<(), LoadError> {
        if self.fleet.users_file.is_none() {
            return bad("hold needs a --users-file, as `gochat seed` writes it: one session each");
        }
        if !(0.0..=1e6).contains(&self.rate) {
            return bad("--rate must be between 0 and 1000000");
        }
        let times = [self.seconds, self.settle_seconds, self.finish_seconds];
        check_seconds("--seconds, --settle-seconds and --finish-seconds", &times)
    }

    /// Connects half, then all, and holds them.
    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let users = self.read_users()?;
        let sessions = users.len();
        self.parts.check_sessions(sessions)?;
        let before = Mark::now(meter(stage)?, 0)?;
        let load = self.fleet.start_some(stage, self.fleet.config(stage, users, self.rate), sessions / 2)?;
        self.fleet.wait_connected(&load, sessions / 2)?;
        let half = self.settled(&load, stage, sessions / 2)?;
        load.let_connect(sessions)?;
        self.fleet.wait_connected(&load, sessions)?;
        let marks = Marks { before, half, all: self.settled(&load, stage, sessions)? };
        say(format_args!("{sessions} sessions, {} messages/s among them for {} s", self.rate, self.seconds));
        self.hold(load, stage, &marks)
    }
}

fn meter(stage: &mut Stage) -> Result<&mut ServerMeter, LoadError> {
    let unknown = || LoadError::BadConfig("hold measures the server: say --admin or --pid".to_owned());
    stage.meter.as_mut().ok_or_else(unknown)
}

impl Hold {
    fn read_users(&self) -> Result<Vec<User>, LoadError> {
        let path = self.fleet.users_file.as_deref().unwrap_or(std::path::Path::new(""));
        let users = users::read_users_file(path, self.users.unwrap_or(usize::MAX))?;
        let found = users.len();
        if found < 2 || self.users.is_some_and(|users| users > found) {
            let why = format!("it has {found} users: at least 2 are needed, and as many as --users says");
            return Err(LoadError::BadUsersFile { path: path.display().to_string(), why });
        }
        Ok(users)
    }

    fn settled(&self, load: &Load, stage: &mut Stage, sessions: usize) -> Result<Mark, LoadError> {
        load.rest(Duration::from_secs_f64(self.settle_seconds))?;
        Mark::now(meter(stage)?, sessions)
    }

    fn hold(&self, load: Load, stage: &mut Stage, marks: &Marks) -> Result<Brought, LoadError> {
        let sessions = marks.all.connections;
        let disconnects_before = load.progress()?.disconnects;
        let lasting = Duration::from_secs_f64(self.seconds);
        let window = if self.rate > 0.0 {
            Some(course::send(&load, lasting, stage)?)
        } else {
            hold_idle(&load, lasting, stage)?;
            None
        };
        let after = Mark::now(meter(stage)?, sessions)?;
        let held_s = (after.at - marks.all.at).as_secs_f64();
        let disconnects = load.progress()?.disconnects - disconnects_before;
        let trouble = trouble_of(&load)?;
        let judged = match window {
            Some(window) => {
                let patience = Duration::from_secs_f64(self.finish_seconds);
                Some(course::judge(course::settle(load, sessions, patience)?, window))
            }
            None => None,
        };
        let growth = Growth::between(&marks.half, &marks.all);
        let result = HoldResult {
            sessions,
            seconds: self.seconds,
            rss_bytes_before: marks.before.rss_bytes,
            rss_bytes_half: marks.half.rss_bytes,
            rss_bytes_all: marks.all.rss_bytes,
            rss_bytes_after: after.rss_bytes,
            rss_bytes_per_session: growth.rss_bytes,
            kernel_bytes_per_connection: growth.kernel_bytes,
            cpu_s_per_s: (after.cpu_s - marks.all.cpu_s) / held_s,
            disconnects,
            chat: judged.as_ref().map(|judged| judged.result.clone()),
        };
        if let Some(judged) = &judged {
            judged.print();
        }
        print(&result, &trouble);
        let mut brought = match judged {
            Some(judged) => judged.bring(&result),
            None => {
                Brought { result: serde_json::to_value(&result).unwrap_or_default(), ..Brought::default() }
            }
        };
        result.add_to(&mut brought.figures);
        growth.add_kernel_to(&mut brought.figures);
        if disconnects > 0 {
            brought.broken.push(format!("{disconnects} sessions ended while they were held"));
        }
        Ok(brought)
    }
}

/// A line each second: how many are still there, and what the server spends on them.
fn hold_idle(load: &Load, lasting: Duration, stage: &mut Stage) -> Result<(), LoadError> {
    let began = Instant::now();
    let (mut last, mut at) = (meter(stage)?.read()?, began);
    while let Some(rest) = lasting.checked_sub(began.elapsed()).filter(|rest| !rest.is_zero()) {
        std::thread::sleep(rest.min(Duration::from_secs(1)));
        let (now, since) = (meter(stage)?.read()?, at.elapsed());
        let cpu = (now.cpu_s - last.cpu_s) / since.as_secs_f64();
        let (memory, connected) = (mib(now.rss_bytes), load.progress()?.connected);
        let at_s = began.elapsed().as_secs_f64();
        say(format_args!(
            "{at_s:>5.1} s  connected {connected}  server {cpu:.3} s/s of CPU  {memory:.1} MiB"
        ));
        (last, at) = (now, at + since);
    }
    Ok(())
}

impl HoldResult {
    fn add_to(&self, figures: &mut Figures) {
        figures.add("sessions", self.sessions as f64, "", Better::Neither);
        figures.add("rss_bytes_per_session", self.rss_bytes_per_session, "bytes", Better::Lower);
        figures.add("held_cpu", self.cpu_s_per_s, "s/s", Better::Lower);
        figures.add("server_rss", self.rss_bytes_after as f64, "bytes", Better::Lower);
        figures.add("disconnects", self.disconnects as f64, "", Better::Lower);
    }
}

fn print(report: &HoldResult, trouble: &str) {
    let sessions = report.sessions;
    match report.rss_bytes_per_session {
        Some(bytes) => println!("{sessions} sessions · {bytes:.0} bytes of server memory a session"),
        None => println!(
            "{sessions} sessions · too few for the memory of one: the slope needs {CONNECTIONS_MIN} between half and all"
        ),
    }
    if let Some(bytes) = report.kernel_bytes_per_connection {
        println!("kernel   {bytes:.0} bytes a connection, at both of its ends");
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
