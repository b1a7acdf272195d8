//! A load in several processes: agents that make a part of it each, and the coordinator that deals it out, gives the
//! time and brings the histories home to the one checker.
//!
//! *Invariant:* a conversation stays whole within one agent, so that every latency is read from one clock; the clocks
//! of several machines only decide when a load begins.
//! *Invariant:* an agent that can't be heard any more fails the run: it never goes on with less load.

mod crew;
mod link;
mod listen;
mod message;
mod remote;
mod serve;

pub(crate) use crew::{AgentReport, Crew, Parts};
pub(crate) use listen::Agent;
pub(crate) use remote::RemoteLoad;

use std::path::Path;

use crate::error::LoadError;

/// Sessions that one process carries: a descriptor each, of the 20,000 that many systems allow.
const SESSIONS_MAX: usize = 18_000;

/// Holds the token where no file does.
const TOKEN_ENV: &str = "GOCHAT_PERF_TOKEN";
/// A shorter one could be guessed: nothing slows down who tries.
const TOKEN_CHARS_MIN: usize = 16;
const TOKEN_CHARS_MAX: usize = 1024;

/// The first line of the file, else the environment's; `None`: neither is there.
fn read_token(file: Option<&Path>) -> Result<Option<String>, LoadError> {
    let text = match file {
        Some(path) => Some(
            std::fs::read_to_string(path)
                .map_err(|error| LoadError::BadConfig(format!("--token-file {}: {error}", path.display())))?,
        ),
        None => std::env::var(TOKEN_ENV).ok().filter(|token| !token.is_empty()),
    };
    let token = text.map(|text| text.lines().next().unwrap_or_default().trim().to_owned());
    match &token {
        Some(token) if !(TOKEN_CHARS_MIN..=TOKEN_CHARS_MAX).contains(&token.len()) => {
            Err(LoadError::BadConfig(format!(
                "a token has {TOKEN_CHARS_MIN} to {TOKEN_CHARS_MAX} characters: `openssl rand -hex 32` makes a good one"
            )))
        }
        _ => Ok(token),
    }
}
