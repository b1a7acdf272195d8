//! The engine as its owner sees it: threads are started, asked, drained and joined here.

use crate::app::App;
use crate::config::{Config, ConfigError, Driver};
use crate::mailbox::{Bell, Mailbox, Mailboxes};
use crate::shard::{self, Built, Control, Drained, Links, Shard};
use crate::socket::{listen, sys};
use crate::stats::ShardStats;
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::sync::{Arc, mpsc};
use std::thread::{Builder, JoinHandle};
use std::time::{Duration, Instant};

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
    controls: Mailboxes<Control<A::Session>>,
    threads: Vec<ShardThread>,
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
        let (listeners, address) = listen::bind(config.listen, config.shards, config.listen_backlog)
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let bells: Vec<_> = (0..config.shards)
            .map(|_| Bell::new().map(Arc::new))
            .collect::<io::Result<_>>()
            .map_err(StartError::Shard)?;
        let mailbox = |bell: &Arc<Bell>| {
            Mailbox::new(Arc::clone(bell), config.mailbox_max_count, config.mailbox_max_bytes)
        };
        let mailboxes = Mailboxes::new(bells.iter().map(mailbox).collect());
        let control = |bell: &Arc<Bell>| {
            Mailbox::new(Arc::clone(bell), config.handoffs_max, config.input_shard_max_bytes)
        };
        let controls = Mailboxes::new(bells.iter().map(control).collect());
        let config = Arc::new(config);
        let started = Instant::now();
        let jobs = |listeners: Vec<OwnedFd>| {
            let jobs = listeners.into_iter().zip(&bells).enumerate().map(|(shard, (listener, bell))| Job {
                listener,
                links: Links {
                    shard,
                    config: Arc::clone(&config),
                    started,
                    bell: Arc::clone(bell),
                    mailboxes: mailboxes.clone(),
                    controls: controls.clone(),
                },
            });
            jobs.collect()
        };
        let (prepared, in_use) = prepare_all(&config, &Arc::new(make_app))?;
        let mut engine = Engine {
            address,
            in_use,
            mailboxes: mailboxes.clone(),
            controls: controls.clone(),
            threads: Vec::new(),
        };
        engine.threads = go(prepared, jobs(listeners))?;
        Ok(engine)
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
        let (sender, answers) = mpsc::channel();
        self.tell_all(|| Control::Stats(sender.clone()));
        drop(sender);
        let end = Instant::now() + STATS_WAIT;
        let mut stats: Vec<ShardStats> =
            std::iter::from_fn(|| answers.recv_timeout(end.saturating_duration_since(Instant::now())).ok())
                .collect();
        stats.sort_by_key(|one| one.shard);
        stats
    }

    /// Begins to end: accepting goes on for `drain_grace_ms`, then clients are closed with 1001 over `drain_spread_ms`.
    /// Returns at once.
    pub fn drain(&self) {
        self.tell_all(|| Control::Drain);
    }

    /// Waits until all shards have ended, which [`Engine::drain`] makes them do.
    pub fn join(mut self) -> DrainReport {
        self.join_all()
    }

    fn tell_all(&self, mut make: impl FnMut() -> Control<A::Session>) {
        for shard in 0..self.controls.len() {
            self.controls.shard(shard).post_reserved(make());
        }
    }

    fn join_all(&mut self) -> DrainReport {
        let mut report = DrainReport::default();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(Ok((stats, drained))) => {
                    report.clean += drained.clean;
                    report.forced += drained.forced;
                    report.stats.push(stats);
                }
                Ok(Err(_)) | Err(_) => report.failed_shards += 1,
            }
        }
        report
    }
}

impl<A: App> Drop for Engine<A> {
    fn drop(&mut self) {
        self.tell_all(|| Control::Stop);
        self.join_all();
    }
}

/// A shard's thread; it ends with its last counters and the outcome of its drain.
type ShardThread = JoinHandle<io::Result<(ShardStats, Drained)>>;

/// How long [`Engine::stats`] waits.
const STATS_WAIT: Duration = Duration::from_secs(1);

/// What a prepared thread needs to become a shard.
struct Job<A: App> {
    listener: OwnedFd,
    links: Links<A>,
}

/// A thread whose runtime is built, and which waits for its job.
struct Prepared<A: App> {
    thread: ShardThread,
    job: mpsc::Sender<(Job<A>, mpsc::Sender<()>)>,
}

/// Starts the threads with the configured driver; with [`Driver::Auto`] once more with epoll if io_uring fails.
fn prepare_all<A: App>(
    config: &Arc<Config>,
    make_app: &Arc<impl Fn(ShardStart<A::Mail>) -> A + Send + Sync + 'static>,
) -> Result<(Vec<Prepared<A>>, EngineInUse), StartError> {
    let prepare = |driver| -> io::Result<(Vec<Prepared<A>>, String)> {
        let mut reason = String::new();
        let mut prepared = Vec::new();
        for shard in 0..config.shards {
            let (one, why) = prepare_one(shard, driver, config, make_app)?;
            (reason, _) = (why, prepared.push(one));
        }
        Ok((prepared, reason))
    };
    let (driver, prepared, reason) = match config.driver {
        Driver::Epoll => (Driver::Epoll, prepare(Driver::Epoll), "as configured".to_owned()),
        Driver::Uring => (Driver::Uring, prepare(Driver::Uring), String::new()),
        Driver::Auto => match prepare(Driver::Uring) {
            Err(error) => {
                let reason = format!("io_uring is not available: {error}");
                (Driver::Epoll, prepare(Driver::Epoll), reason)
            }
            prepared => (Driver::Uring, prepared, String::new()),
        },
    };
    let (prepared, why) = prepared.map_err(StartError::Driver)?;
    let reason = if why.is_empty() { reason } else { why };
    Ok((prepared, EngineInUse { driver, reason }))
}

/// Starts one thread and waits until its runtime is built.
fn prepare_one<A: App>(
    shard: usize,
    driver: Driver,
    config: &Arc<Config>,
    make_app: &Arc<impl Fn(ShardStart<A::Mail>) -> A + Send + Sync + 'static>,
) -> io::Result<(Prepared<A>, String)> {
    let (built, is_built) = mpsc::channel();
    let (job, jobs) = mpsc::channel();
    let (config, make_app) = (Arc::clone(config), Arc::clone(make_app));
    let thread = Builder::new()
        .name(format!("shard-{shard}"))
        .spawn(move || shard_main(shard, driver, &config, make_app.as_ref(), &built, &jobs))?;
    match is_built.recv() {
        Ok(Ok(reason)) => Ok((Prepared { thread, job }, reason)),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(io::Error::other("the thread ended early")),
    }
}

/// A shard's thread.
fn shard_main<A: App>(
    shard: usize,
    driver: Driver,
    config: &Config,
    make_app: &(impl Fn(ShardStart<A::Mail>) -> A + ?Sized),
    built: &mpsc::Sender<io::Result<String>>,
    jobs: &mpsc::Receiver<(Job<A>, mpsc::Sender<()>)>,
) -> io::Result<(ShardStats, Drained)> {
    if config.pin_threads
        && let Err(error) = sys::pin_thread(shard)
    {
        tracing::warn!(shard, %error, "the thread could not be pinned");
    }
    let mut runtime = match shard::build(driver, config) {
        Ok(Built { runtime, reason }) => {
            let _ = built.send(Ok(reason));
            runtime
        }
        Err(error) => {
            let _ = built.send(Err(error));
            return Err(io::ErrorKind::Unsupported.into());
        }
    };
    // No job comes when another shard failed.
    let Ok((job, ready)) = jobs.recv() else { return Err(io::ErrorKind::Interrupted.into()) };
    let Job { listener, links } = job;
    let start = ShardStart { shard, shards: config.shards, mailboxes: links.mailboxes.clone() };
    let app = make_app(start);
    let shard = Shard::new(links, app);
    runtime.block_on(shard.run(listener, move || {
        let _ = ready.send(());
    }))
}

/// Gives the threads their jobs and waits until each accepts.
fn go<A: App>(prepared: Vec<Prepared<A>>, jobs: Vec<Job<A>>) -> Result<Vec<ShardThread>, StartError> {
    let (ready, readies) = mpsc::channel();
    let shards = prepared.len();
    let controls = jobs.first().map(|job| job.links.controls.clone());
    let mut threads = Vec::new();
    for (one, job) in prepared.into_iter().zip(jobs) {
        // A thread that has ended is noticed below.
        let _ = one.job.send((job, ready.clone()));
        threads.push(one.thread);
    }
    drop(ready);
    if readies.iter().take(shards).count() == shards {
        return Ok(threads);
    }
    for shard in 0..shards {
        if let Some(controls) = &controls {
            controls.shard(shard).post_reserved(Control::Stop);
        }
    }
    let failed = threads.into_iter().map(JoinHandle::join).find_map(|result| match result {
        Ok(Ok(_)) => None,
        Ok(Err(error)) => Some(error),
        Err(_) => Some(io::Error::other("panicked")),
    });
    Err(StartError::Shard(failed.unwrap_or_else(|| io::ErrorKind::Other.into())))
}
