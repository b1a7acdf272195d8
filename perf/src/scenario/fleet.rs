//! The clients of a scenario: who they are and how they come.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use super::{default_threads, say};
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
    /// Threads of the load [default: half of the cores]
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
    pub(super) fn config(&self, target: &Target, users: Vec<User>, rate_per_s: f64) -> LoadConfig {
        let defaults = LoadConfig::new(target.clone(), users);
        LoadConfig {
            rate_per_s,
            seed: self.seed.unwrap_or(defaults.seed),
            threads: self.threads.unwrap_or_else(default_threads),
            content_bytes: self.content_bytes,
            connects_per_s: self.connect_rate,
            ..defaults
        }
    }

    /// Waits for the first `sessions` and shows how far they are.
    pub(super) fn wait_connected(&self, load: &ChatLoad, sessions: usize) -> Result<(), LoadError> {
        let patience = Duration::from_secs_f64(30.0 + 4.0 * sessions as f64 / self.connect_rate);
        let began = Instant::now();
        loop {
            let rest = patience.saturating_sub(began.elapsed());
            match load.wait_ready_count(sessions as u64, rest.min(Duration::from_secs(1))) {
                Err(LoadError::NotReady { ready, .. }) if began.elapsed() < patience => {
                    say(format_args!("connecting: {ready} of {sessions} sessions {}", trouble_of(load)));
                }
                other => return other,
            }
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

pub(super) fn trouble_of(load: &ChatLoad) -> String {
    let trouble = load.trouble();
    if trouble.is_empty() { trouble } else { format!("(last trouble: {trouble})") }
}
