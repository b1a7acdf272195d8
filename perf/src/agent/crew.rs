//! The agents of one run: who they are, what their clocks say and what they cost.

use std::path::PathBuf;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;
use serde_json::Value;

use super::link::Link;
use super::message::{Answer, Order, PROTOCOL, VERSION, Welcome};
use super::{SESSIONS_MAX, read_token};
use crate::error::LoadError;
use crate::meter::proc::ProcessUse;
use crate::meter::{SAMPLES_MAX, thin};

/// In how many processes a load is made, and where.
#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Parts {
    /// Processes that make the load together, on this machine; this one only gives the time and judges, if there are several
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..=100))]
    processes: u16,
    /// Agents that make the load together instead, each started with `gochat-perf agent --listen HOST:PORT`
    #[arg(long, value_delimiter = ',', value_name = "HOST:PORT,…", conflicts_with = "processes")]
    agents: Vec<String>,
    /// The first line of this file is the agents' token [default: the environment's GOCHAT_PERF_TOKEN]
    #[arg(long)]
    token_file: Option<PathBuf>,
    /// More sessions in one process are refused
    #[arg(long, default_value_t = SESSIONS_MAX)]
    sessions_per_process: usize,
}

impl Parts {
    pub(crate) fn count(&self) -> usize {
        self.agents.len().max(usize::from(self.processes))
    }

    /// # Errors
    /// [`LoadError::BadConfig`]: more than the processes carry.
    pub(crate) fn check_sessions(&self, sessions: usize) -> Result<(), LoadError> {
        let (count, most) = (self.count(), self.sessions_per_process);
        let pairs = sessions.div_ceil(2);
        // Pairs are dealt out whole.
        if pairs.div_ceil(count) * 2 <= most {
            return Ok(());
        }
        let needed = pairs.div_ceil((most / 2).max(1));
        let sentence = format!(
            "{sessions} sessions are more than {count} processes of {most} carry: say --processes {needed}, name \
             more --agents, or raise --sessions-per-process if this system allows a process so many descriptors"
        );
        Err(LoadError::BadConfig(sentence))
    }
}

/// Agents that are ready for a load, on this machine or on others.
#[derive(Debug)]
pub(crate) struct Crew {
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    members: Vec<Member>,
    /// The first failure: after it nobody knows whose answer comes next.
    failed: Option<(String, String)>,
}

#[derive(Debug)]
struct Member {
    link: Link,
    welcome: Welcome,
    /// What its clock calls zero, on ours.
    zero: Instant,
    uncertainty: Duration,
    sessions: usize,
    samples: Vec<AgentSample>,
    sample_every_s: f64,
}

/// An agent, in the report of the run that it was part of.
#[derive(Debug, Serialize)]
pub(crate) struct AgentReport {
    name: String,
    pid: u32,
    /// Of the last load.
    sessions: usize,
    /// The begin of its part may be off by this from that of the others'. Latencies are not: each is read from one clock.
    clock_uncertainty_us: f64,
    fingerprint: Value,
    samples: Vec<AgentSample>,
}

#[derive(Debug, Clone, Serialize)]
struct AgentSample {
    /// Since the run began.
    at_s: f64,
    process: ProcessUse,
}

/// The fastest of these tells the time best.
const CLOCK_ROUNDS: usize = 16;

impl Crew {
    /// Starts or connects the agents that `parts` asks for; `None`: one process, which is this one.
    ///
    /// # Errors
    /// [`LoadError::Agent`]: not there, of another build, or not for us.
    pub(crate) fn gather(parts: &Parts) -> Result<Option<Crew>, LoadError> {
        let count = parts.count();
        let (links, token) = if parts.agents.is_empty() {
            if count < 2 {
                return Ok(None);
            }
            let start = |number| Link::start_process(format!("process {number} of {count}"));
            ((1..=count).map(start).collect::<Result<Vec<_>, _>>()?, None)
        } else {
            let token = read_token(parts.token_file.as_deref())?;
            (parts.agents.iter().map(|addr| Link::connect(addr)).collect::<Result<_, _>>()?, token)
        };
        let members =
            links.into_iter().map(|link| Member::greet(link, token.as_deref())).collect::<Result<_, _>>()?;
        Ok(Some(Crew { state: Mutex::new(State { members, failed: None }) }))
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // A panic elsewhere ends the run; the links are as good as they were.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Those that were started on this machine.
    pub(crate) fn pids(&self) -> Vec<u32> {
        self.lock().members.iter().filter_map(|member| member.link.pid()).collect()
    }

    pub(super) fn len(&self) -> usize {
        self.lock().members.len()
    }

    /// Threads for each of them: half of the cores of the smallest machine, shared by those that are here.
    pub(crate) fn default_threads(&self) -> usize {
        let state = self.lock();
        let cores = state.members.iter().map(|member| member.welcome.cores).min().unwrap_or(1);
        let here = state.members.iter().filter(|member| member.link.pid().is_some()).count().max(1);
        (cores / 2 / here).max(1)
    }

    /// Gives each its order, and takes each one's answer.
    pub(super) fn ask<T>(
        &self,
        order: impl Fn(usize) -> Order,
        take: impl Fn(Answer) -> Option<T>,
    ) -> Result<Vec<T>, LoadError> {
        self.with(|members| {
            for (index, member) in members.iter_mut().enumerate() {
                member.link.send(&order(index))?;
            }
            members.iter_mut().map(|member| member.receive(&take)).collect()
        })
    }

    /// As [`Crew::ask`], where the answer has many parts: `take` gives `None` for those before the last.
    pub(super) fn ask_long<T>(
        &self,
        order: &Order,
        mut take: impl FnMut(Answer) -> Result<Option<T>, &'static str>,
    ) -> Result<Vec<T>, LoadError> {
        self.with(|members| {
            for member in members.iter_mut() {
                member.link.send(order)?;
            }
            let mut whole = Vec::new();
            for member in members.iter_mut() {
                loop {
                    let part = take(member.link.receive()?).map_err(|why| member.out_of_turn(why))?;
                    if let Some(last) = part {
                        whole.push(last);
                        break;
                    }
                }
            }
            Ok(whole)
        })
    }

    pub(super) fn expect_done(&self, order: impl Fn(usize) -> Order) -> Result<(), LoadError> {
        self.ask(order, |answer| matches!(answer, Answer::Done).then_some(())).map(drop)
    }

    /// A failure is kept: whatever is asked later fails with it too.
    fn with<T>(&self, work: impl FnOnce(&mut [Member]) -> Result<T, LoadError>) -> Result<T, LoadError> {
        let state = &mut *self.lock();
        if let Some((name, why)) = state.failed.clone() {
            return Err(LoadError::Agent { name, why });
        }
        let done = work(&mut state.members);
        if let Err(LoadError::Agent { name, why }) = &done {
            state.failed = Some((name.clone(), why.clone()));
        }
        done
    }

    pub(super) fn set_sessions(&self, sessions: &[usize]) {
        for (member, sessions) in self.lock().members.iter_mut().zip(sessions) {
            member.sessions = *sessions;
        }
    }

    /// Looks at all clocks, and says what each of them shows at `then`, µs.
    pub(super) fn at(&self, then: impl FnOnce() -> Instant) -> Result<(Instant, Vec<u64>), LoadError> {
        self.with(|members| {
            members.iter_mut().try_for_each(Member::read_clock)?;
            let then = then();
            let shows = |member: &Member| then.saturating_duration_since(member.zero).as_micros() as u64;
            Ok((then, members.iter().map(shows).collect()))
        })
    }

    /// CPU time of all of them since their start. `at_s`: since the run began, for their samples.
    pub(crate) fn cpu_s(&self, at_s: f64) -> Result<f64, LoadError> {
        let costs = self.ask(
            |_| Order::TellCost,
            |answer| match answer {
                Answer::Cost(cost) => Some(cost),
                _ => None,
            },
        )?;
        for (member, process) in self.lock().members.iter_mut().zip(&costs) {
            member.note(AgentSample { at_s, process: *process });
        }
        Ok(costs.iter().map(ProcessUse::cpu_s).sum())
    }

    pub(crate) fn report(&self) -> Vec<AgentReport> {
        let report = |member: &Member| AgentReport {
            name: member.link.name.clone(),
            pid: member.welcome.pid,
            sessions: member.sessions,
            clock_uncertainty_us: member.uncertainty.as_secs_f64() * 1e6,
            fingerprint: member.welcome.fingerprint.clone(),
            samples: member.samples.clone(),
        };
        self.lock().members.iter().map(report).collect()
    }
}

impl Member {
    fn greet(mut link: Link, token: Option<&str>) -> Result<Member, LoadError> {
        let hello =
            Order::Hello { protocol: PROTOCOL, version: VERSION.to_owned(), token: token.map(str::to_owned) };
        let welcome = match link.ask(&hello)? {
            Answer::Welcome(welcome) => *welcome,
            _ => {
                let why = "it answered, and not as an agent does".to_owned();
                return Err(LoadError::Agent { name: link.name.clone(), why });
            }
        };
        let mut member = Member {
            link,
            welcome,
            zero: Instant::now(),
            uncertainty: Duration::MAX,
            sessions: 0,
            samples: Vec::new(),
            sample_every_s: 0.0,
        };
        member.read_clock()?;
        Ok(member)
    }

    fn receive<T>(&mut self, take: impl Fn(Answer) -> Option<T>) -> Result<T, LoadError> {
        let answer = self.link.receive()?;
        take(answer).ok_or_else(|| self.out_of_turn("it answered something else than it was asked"))
    }

    fn out_of_turn(&self, why: &str) -> LoadError {
        LoadError::Agent { name: self.link.name.clone(), why: why.to_owned() }
    }

    /// The answer was written somewhere between question and reception: in the middle, give or take half of it.
    fn read_clock(&mut self) -> Result<(), LoadError> {
        self.uncertainty = Duration::MAX;
        for _ in 0..CLOCK_ROUNDS {
            let asked = Instant::now();
            self.link.send(&Order::TellClock)?;
            let now_us = self.receive(|answer| match answer {
                Answer::Clock { now_us } => Some(now_us),
                _ => None,
            })?;
            let half = asked.elapsed() / 2;
            // An agent that claims to be older than this machine is no agent.
            let zero = (asked + half).checked_sub(Duration::from_micros(now_us));
            let zero = zero.ok_or_else(|| self.out_of_turn("its clock shows nonsense"))?;
            if half < self.uncertainty {
                (self.zero, self.uncertainty) = (zero, half);
            }
        }
        Ok(())
    }

    /// As the server's samples: of a long run every second one, then every fourth, is kept.
    fn note(&mut self, sample: AgentSample) {
        let is_early = self.samples.last().is_some_and(|last| sample.at_s < last.at_s + self.sample_every_s);
        if is_early {
            return;
        }
        self.samples.push(sample);
        if self.samples.len() >= SAMPLES_MAX {
            thin(&mut self.samples);
            self.sample_every_s = (self.sample_every_s * 2.0).max(1.5);
        }
    }
}
