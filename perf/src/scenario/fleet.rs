//! The clients of a scenario: who they are and how they come.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{Load, Stage, default_threads, say};
use crate::agent::RemoteLoad;
use crate::config::{LoadConfig, Target, random_run};
use crate::error::LoadError;
use crate::load::ChatLoad;
use crate::users::{self, User};

#[derive(Debug, Clone, Args, Serialize)]
pub(crate) struct Fleet {
    /// Users with tokens, as `gochat seed` writes them, instead of registering new ones
    #[arg(long)]
    pub(crate) users_file: Option<PathBuf>,
    /// New connections a second, while nobody is on the way back
    #[arg(long, default_value_t = 500.0)]
    pub(crate) connect_rate: f64,
    /// The order of senders and all jitter [default: random]
    #[arg(long)]
    pub(crate) seed: Option<u64>,
    /// Threads of the load, in each of its processes [default: half of the cores, shared by all on this machine]
    #[arg(long)]
    pub(crate) threads: Option<usize>,
    /// Bytes of content in each message
    #[arg(long, default_value_t = 100)]
    pub(crate) content_bytes: usize,
}

impl Fleet {
    /// `count` users of the file, or new ones where there is none.
    pub(super) fn bring_users(&self, count: usize, target: &Target) -> Result<Vec<User>, LoadError> {
        bring_users(self.users_file.as_deref(), count, &random_run(), target)
    }

    /// A load of `users` that sends `rate_per_s` messages.
    pub(super) fn config(&self, stage: &Stage, users: Vec<User>, rate_per_s: f64) -> LoadConfig {
        let defaults = LoadConfig::new(stage.target.clone(), users);
        let default_threads =
            || stage.crew.as_ref().map_or_else(default_threads, |crew| crew.default_threads());
        LoadConfig {
            rate_per_s,
            seed: self.seed.unwrap_or(defaults.seed),
            threads: self.threads.unwrap_or_else(default_threads),
            content_bytes: self.content_bytes,
            connects_per_s: self.connect_rate,
            ..defaults
        }
    }

    /// Starts a load where the stage has its load made.
    pub(super) fn start(&self, stage: &Stage, config: LoadConfig) -> Result<Load, LoadError> {
        let limit = config.sessions();
        self.start_some(stage, config, limit)
    }

    /// As [`Fleet::start`], but only the first `connect_limit` sessions connect until [`Load::let_connect`].
    pub(super) fn start_some(
        &self,
        stage: &Stage,
        config: LoadConfig,
        connect_limit: usize,
    ) -> Result<Load, LoadError> {
        match &stage.crew {
            Some(crew) => RemoteLoad::start(crew.clone(), config, connect_limit).map(Load::Agents),
            None => ChatLoad::start_some(config, connect_limit).map(Load::Here),
        }
    }

    /// Waits for the first `sessions` and shows how far they are.
    pub(super) fn wait_connected(&self, load: &Load, sessions: usize) -> Result<(), LoadError> {
        let patience = Duration::from_secs_f64(30.0 + 4.0 * sessions as f64 / self.connect_rate);
        let began = Instant::now();
        let mut shown = began;
        loop {
            let ready = load.progress()?.ready;
            if ready >= sessions as u64 {
                return Ok(());
            }
            if began.elapsed() >= patience {
                return Err(LoadError::NotReady { ready, users: sessions as u64, trouble: load.trouble()? });
            }
            if shown.elapsed() >= Duration::from_secs(1) {
                shown = Instant::now();
                say(format_args!("connecting: {ready} of {sessions} sessions {}", trouble_of(load)?));
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }
}

/// `count` users of the file, or new ones of this run where there is none.
pub(super) fn bring_users(
    users_file: Option<&Path>,
    count: usize,
    run: &str,
    target: &Target,
) -> Result<Vec<User>, LoadError> {
    let Some(path) = users_file else {
        say(format_args!("registering {count} users"));
        return users::register(target, count, run, |done| {
            if done.is_multiple_of(100) {
                say(format_args!("registered {done}"));
            }
        });
    };
    let users = users::read_users_file(path, count)?;
    if users.len() < count {
        let why = format!("it has {} users of the {count} that are needed", users.len());
        return Err(LoadError::BadUsersFile { path: path.display().to_string(), why });
    }
    Ok(users)
}

pub(super) fn trouble_of(load: &Load) -> Result<String, LoadError> {
    let trouble = load.trouble()?;
    Ok(if trouble.is_empty() { trouble } else { format!("(last trouble: {trouble})") })
}
