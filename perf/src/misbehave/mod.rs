//! Connections that no server would wish for, beside a load that is measured. Written on bare sockets: a WebSocket library
//! would be too polite. Not open-loop and not exact: they only have to be a nuisance.

mod client;
mod crowd;
mod frames;

pub(crate) use crowd::Crowd;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::Target;
use crate::error::LoadError;
use crate::users::User;
use client::BadClient;

/// What a connection does wrong. In this order they are dealt out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Kind {
    /// A member of world and of a busy group who asks for pages, and never reads.
    StoppedReader,
    /// Writes a frame, one byte a second.
    SlowWriter,
    /// Writes the head of its upgrade, one byte a second.
    SlowHead,
    /// WebSocket pings, as many as `flood_frames_per_s`.
    PingFlood,
    /// One message in fragments of one byte without an end, as many as `flood_frames_per_s`.
    FragmentFlood,
    /// Half a head, then a reset, ten times a second.
    AbortedHandshake,
    /// Connects and never says anything.
    HalfOpen,
    /// Upgrades, and then never says anything, not even a pong.
    Silent,
}

impl Kind {
    pub(crate) const ALL: [Kind; 8] = [
        Kind::StoppedReader,
        Kind::SlowWriter,
        Kind::SlowHead,
        Kind::PingFlood,
        Kind::FragmentFlood,
        Kind::AbortedHandshake,
        Kind::HalfOpen,
        Kind::Silent,
    ];

    fn upgrades(self) -> bool {
        !matches!(self, Kind::SlowHead | Kind::AbortedHandshake | Kind::HalfOpen)
    }
}

/// What became of the connections of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub(crate) struct Fate {
    pub(crate) kind: Kind,
    /// Connections that got as far as misbehaving.
    pub(crate) misbehaved: u64,
    /// Of these, those that the server ended.
    pub(crate) ended_by_server: u64,
    /// Upgrades that the server refused.
    pub(crate) refused: u64,
    /// Connects that failed, and connections that ended before they could misbehave.
    pub(crate) failed: u64,
}

impl Fate {
    pub(crate) fn new(kind: Kind) -> Fate {
        Fate { kind, misbehaved: 0, ended_by_server: 0, refused: 0, failed: 0 }
    }

    pub(crate) fn add(&mut self, other: &Fate) {
        self.misbehaved += other.misbehaved;
        self.ended_by_server += other.ended_by_server;
        self.refused += other.refused;
        self.failed += other.failed;
    }
}

/// A running thread of bad clients. They come back one second after the server put them out.
#[derive(Debug)]
pub(crate) struct BadClients {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<Vec<Fate>>>,
}

/// Every bad client gets its turn this often.
const TURN: Duration = Duration::from_millis(10);

impl BadClients {
    /// One bad client for each of `users`, whose kinds are dealt out in turn.
    ///
    /// # Errors
    /// [`LoadError::Io`]: the machine has no thread left.
    pub(crate) fn start(
        target: &Target,
        users: &[User],
        flood_frames_per_s: u32,
    ) -> Result<BadClients, LoadError> {
        let stop = Arc::new(AtomicBool::new(false));
        let per_turn = (flood_frames_per_s / 100).max(1);
        let mut clients: Vec<BadClient> = users
            .iter()
            .zip(Kind::ALL.iter().cycle())
            .map(|(user, kind)| BadClient::new(*kind, target.clone(), user.token.clone(), per_turn))
            .collect();
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("misbehave".to_owned()).spawn(move || {
            while !stopped.load(Ordering::Acquire) {
                let now = Instant::now();
                clients.iter_mut().for_each(|client| client.turn(now));
                std::thread::sleep(TURN);
            }
            gather(&clients)
        });
        let thread = thread.map_err(|source| LoadError::Io { what: "no thread", source })?;
        Ok(BadClients { stop, thread: Some(thread) })
    }

    /// Ends them all, and tells what became of each kind.
    pub(crate) fn stop(mut self) -> Vec<Fate> {
        self.stop.store(true, Ordering::Release);
        self.thread.take().and_then(|thread| thread.join().ok()).unwrap_or_default()
    }
}

impl Drop for BadClients {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
    }
}

fn gather(clients: &[BadClient]) -> Vec<Fate> {
    let of_kind = |kind: Kind| {
        let mut sum = Fate::new(kind);
        clients.iter().filter(|client| client.fate.kind == kind).for_each(|client| sum.add(&client.fate));
        sum
    };
    Kind::ALL.iter().map(|kind| of_kind(*kind)).collect()
}
