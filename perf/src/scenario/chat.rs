//! `gochat-perf chat`: users talk in pairs at a fixed rate, and everything that they said is checked.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use super::{Brought, Fleet, Options, Scenario, Stage, bad, check_pairs, check_seconds, course, say};
use crate::agent::Parts;
use crate::error::LoadError;

#[derive(Debug, Args, Serialize)]
pub(crate) struct Chat {
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) options: Options,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) fleet: Fleet,
    #[command(flatten)]
    #[serde(flatten)]
    pub(crate) parts: Parts,
    /// Users, who talk in pairs: an even number
    #[arg(long, default_value_t = 100)]
    pub(crate) users: usize,
    /// Messages that become due each second, over all users
    #[arg(long, default_value_t = 100.0)]
    pub(crate) rate: f64,
    /// How long messages become due
    #[arg(long, default_value_t = 10.0)]
    pub(crate) seconds: f64,
    /// How long the unfinished may take after the sending, and how long the final reading
    #[arg(long, default_value_t = 120.0)]
    pub(crate) settle_seconds: f64,
}

impl Scenario for Chat {
    const NAME: &'static str = "chat";

    fn options(&self) -> &Options {
        &self.options
    }

    fn parts(&self) -> Option<&Parts> {
        Some(&self.parts)
    }

    fn check(&self) -> Result<(), LoadError> {
        check_pairs(self.users)?;
        self.parts.check_sessions(self.users)?;
        if self.rate.is_nan() || self.rate <= 0.0 || self.seconds <= 0.0 {
            return bad("--rate and --seconds must be above 0");
        }
        check_seconds("--seconds and --settle-seconds", &[self.seconds, self.settle_seconds])
    }

    fn run(&self, stage: &mut Stage) -> Result<Brought, LoadError> {
        let users = self.fleet.bring_users(self.users, &stage.target)?;
        let load = self.fleet.start(stage, self.fleet.config(stage, users, self.rate))?;
        self.fleet.wait_connected(&load, self.users)?;
        say(format_args!("{} sessions, {} messages/s for {} s", self.users, self.rate, self.seconds));
        let window = course::send(&load, Duration::from_secs_f64(self.seconds), stage)?;
        let outcome = course::settle(load, self.users, Duration::from_secs_f64(self.settle_seconds))?;
        let judged = course::judge(outcome, window);
        judged.print();
        let result = judged.result.clone();
        Ok(judged.bring(&result))
    }
}
