//! Load on GoChat from outside: open-loop chat over WebSocket, idle sessions, and a checker that judges the
//! history of a load against the system's promises.
//!
//! - [`checker`]: history in, verdict out. Pure.
//! - [`ChatLoad`]: users in threads of this process who chat in pairs and rooms, reconnect and re-send; gives the history.
//! - `client`: one user of the protocol, pure. `swarm`: epoll threads, sockets, the open loop's pacer.
//! - `plain`: load on any WebSocket server without log-in.
//! - `agent`: users in several processes, on this machine or others.
//! - `misbehave`: connections that do wrong, beside a load that is measured.
//! - `null`: a server that does next to nothing, to measure this program by.
//! - `scenario`: what `gochat-perf` can do to a server; each is set up, run, judged and reported in one way.
//! - `meter`: what the server, this program and the machine spend meanwhile. `report`: what a run leaves behind.
//! - `doctor`: what would spoil a figure. `compare`: which differences are more than noise.
//! - `instructions`: what pure code costs under callgrind.
//! - [`command`]: the command line.
//!
//! *Invariant:* nothing here depends on the server's crates; the WebSocket codec is tungstenite and the JSON is
//! written anew, so that one bug cannot hide on both sides.
//! *Invariant:* a latency counts from the moment when its message was due, never from when it could be sent.
#![forbid(unsafe_code)]

mod agent;
mod apart;
pub mod checker;
mod client;
pub mod command;
mod compare;
mod config;
mod doctor;
mod error;
mod exit;
mod instructions;
mod latency;
mod load;
mod meter;
mod misbehave;
mod null;
mod plain;
mod report;
pub mod rest;
mod scenario;
mod swarm;
mod tally;
pub mod users;
mod wire;

pub use config::{ClientRules, Habits, LoadConfig, Room, Share, Target, random_run};
pub use error::LoadError;
pub use exit::Exit;
pub use latency::{Latency, Percentiles};
pub use load::{ChatLoad, LoadOutcome};
pub use tally::{Latencies, Progress};
