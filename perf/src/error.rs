//! Why a load could not be run: always a matter of set-up, never of the server's promises.

use crate::exit::Exit;

/// The load could not start, or could not go on. Exit code 3 (2 for what the caller wrote).
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The caller's: fix the URL.
    #[error("cannot use {url}: {why}")]
    BadUrl { url: String, why: String },
    /// The caller's: users, rate or bounds that make no load.
    #[error("{0}")]
    BadConfig(String),
    /// The users file is missing, torn, or has other fields.
    #[error("users file {path}: {why}")]
    BadUsersFile { path: String, why: String },
    /// The machine's: no thread, no epoll instance, no address.
    #[error("{what}: {source}")]
    Io { what: &'static str, source: std::io::Error },
    /// The server did not take the sessions in time.
    #[error("{ready} of {users} sessions were ready in time; the last trouble: {trouble}")]
    NotReady { ready: u64, users: u64, trouble: String },
    /// The server refused or broke a REST call that the load needs.
    #[error("{call} failed: {why}")]
    Rest { call: String, why: String },
    /// The caller's: another file.
    #[error("report {path}: {why}")]
    BadReport { path: String, why: String },
    /// A run of several could not be run, and said why.
    #[error("{run}: it could not be run, as it says above")]
    Run { run: String, exit: Exit },
    /// The caller's: figures that the reports don't have, or too few reports.
    #[error("{figure} can't be judged: both sides need at least four values of it")]
    NotJudged { figure: String },
    /// The caller's: the recorded figures are missing, torn, or of other parts.
    #[error("recorded figures {path}: {why}")]
    BadRecord { path: String, why: String },
    /// The machine's or the caller's: no valgrind, or a program that can't be counted.
    #[error("cannot count instructions with {what}: {why}")]
    Count { what: String, why: String },
    /// A process or agent that makes a part of the load refused it, or can't be heard any more.
    #[error("{name}: {why}")]
    Agent { name: String, why: String },
    /// The process whose cost was being measured has ended.
    #[error("the server's process {pid} has ended")]
    ServerGone { pid: u32 },
}
