//! The gateway as its owner sees it: started, drained.

use std::{
    net::SocketAddr,
    num::NonZero,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use gochat_core::{Engine, EngineInUse, Mailboxes, StartError};
use gochat_infra::{
    admin::Readiness,
    mq::{Queue, QueueError},
    rpc,
    telemetry::Metrics,
    token::TokenKeys,
};
use gochat_proto::topics;
use tokio::{
    runtime::Handle,
    sync::{Notify, oneshot, watch},
    task::{AbortHandle, JoinHandle},
    time::timeout,
};

use crate::{
    admin::{self, SideCounters},
    auth::UpgradeRules,
    config::{GatewayConfig, InvalidConfig},
    downstream::tail::Follower,
    health::{Health, Part},
    mail::Mail,
    opening,
    presence::Presence,
    protocol::inbound::FrameLimits,
    revoke,
    shard::{Shard, Shared},
    side::{Clients, Side},
};

/// Name of the gateway's condition in the readiness report.
pub(crate) const CONDITION: &str = "gateway";

/// What a gateway works with.
pub struct GatewayDeps {
    /// The way to logic's services.
    pub logic: rpc::Client,
    /// Has the topics of [`gochat_proto::topics`].
    pub queue: Queue,
    /// The keys that logic signs with.
    pub keys: TokenKeys,
    /// Random id of this run, never used again.
    pub instance_id: String,
    /// The partition of gochat.downstream that is this gateway's.
    pub slot: u32,
    /// Where counters are registered.
    pub metrics: Metrics,
    /// Where the condition `gateway` is kept.
    pub readiness: Readiness,
    /// Runs what waits.
    pub runtime: Handle,
}

/// Why a gateway can't start.
#[derive(Debug, thiserror::Error)]
pub enum GatewayError {
    /// A setting can't be used.
    #[error("gateway configuration: {0}")]
    Config(#[from] InvalidConfig),
    /// The queue has no such topic or partition.
    #[error("downstream: {0}")]
    Queue(#[from] QueueError),
    /// The connections' engine can't start.
    #[error("connection engine: {0}")]
    Engine(#[from] StartError),
    /// The system gives no thread.
    #[error("downstream thread: {0}")]
    Thread(std::io::Error),
}

/// How the end went.
#[derive(Debug, Clone)]
pub struct DrainReport {
    /// Whether the queue had answered for every send before connections were closed.
    pub acks_complete: bool,
    /// Whether the ends of all sessions were reported.
    pub sessions_reported: bool,
    /// The engine's: connections closed cleanly and by force.
    pub engine: gochat_core::DrainReport,
    /// How long it took, in milliseconds.
    pub took_ms: u64,
}

/// A running gateway. To be ended with [`Gateway::drain`].
pub struct Gateway {
    engine: Arc<Engine<Shard>>,
    shared: Arc<Shared>,
    mailboxes: Mailboxes<Mail>,
    readiness: Readiness,
    health: JoinHandle<()>,
    /// Tasks that have no end of their own.
    tasks: Vec<JoinHandle<()>>,
    /// Turns true when connections are taken.
    open: watch::Receiver<bool>,
    stop_tail: Arc<Notify>,
    tail_thread: thread::JoinHandle<()>,
}

impl Gateway {
    /// Clients can connect when this returns, and WebSockets once the readiness condition `gateway` holds.
    ///
    /// # Errors
    /// See [`GatewayError`].
    pub fn start(config: GatewayConfig, deps: GatewayDeps) -> Result<Gateway, GatewayError> {
        config.validate()?;
        deps.readiness.not_ready(CONDITION, "starting");
        // From its end, before anyone can learn that a client is connected here.
        let tail = deps.queue.tail(topics::DOWNSTREAM, deps.slot)?;
        let events = revoke::follow::tails(&deps.queue)?;
        let instance: Arc<str> = deps.instance_id.as_str().into();
        let clients = Clients::new(&deps.logic);
        let counters = Arc::new(SideCounters::default());
        let (side, lanes) = Side::new(&config.side, &counters.side_refused);
        let (presence, reporter) = Presence::new(&config.presence, Arc::clone(&instance), deps.slot);
        let mut depths = lanes.depths();
        depths.push(presence.depth());
        let shared = share(config, &deps, &instance, side, presence);
        let of_shards = Arc::clone(&shared);
        let edge = shared.config.edge_in_use(shards(shared.config.shards));
        let engine = Engine::start(edge, move |start| Shard::new(Arc::clone(&of_shards), start.mailboxes))?;
        let (mailboxes, engine) = (engine.mailboxes(), Arc::new(engine));
        tracing::info!(address = %engine.local_addr(), shards = mailboxes.len(), engine = %engine.engine_in_use(),
            "gateway listens");
        let lanes = lanes.start(&deps.runtime, &clients, &mailboxes, &counters.panics);
        let reporting = reporter.run(clients.clone(), mailboxes.clone(), Arc::clone(&counters));
        let publishing = admin::publish(
            &deps.metrics,
            &counters,
            Arc::clone(&engine),
            mailboxes.clone(),
            depths,
            shared.config.stats_interval_ms,
        );
        let config = &shared.config;
        let (opening, open) =
            opening::start(&deps.runtime, config, events, &clients, &mailboxes, &counters, &deps.readiness);
        let [following, opening] = opening;
        let mut tasks = vec![deps.runtime.spawn(reporting), deps.runtime.spawn(publishing), following];
        let mut parts = parts(lanes, &tasks);
        // That one ends when connections are taken.
        tasks.push(opening);
        let stop_tail = Arc::new(Notify::new());
        let follower = Follower {
            tail,
            mailboxes: mailboxes.clone(),
            instance,
            config: config.downstream.clone(),
            counters,
            stop: Arc::clone(&stop_tail),
        };
        let (tail_thread, tail_part) = follow(follower, deps.runtime.clone())?;
        parts.push(tail_part);
        let health = Health {
            parts,
            mailboxes: mailboxes.clone(),
            readiness: deps.readiness.clone(),
            config: config.health.clone(),
        };
        Ok(Gateway {
            health: deps.runtime.spawn(health.run()),
            engine,
            shared,
            mailboxes,
            readiness: deps.readiness,
            tasks,
            open,
            stop_tail,
            tail_thread,
        })
    }

    /// Where clients connect.
    #[must_use]
    pub fn addr(&self) -> SocketAddr {
        self.engine.local_addr()
    }

    /// Waits until the store's epoch and all revocations are known, from when on WebSockets are taken.
    pub async fn ready(&self) {
        // The sender ends without a word only when the gateway does.
        let _ = self.open.clone().wait_for(|open| *open).await;
    }

    /// What drives the sockets, and why.
    #[must_use]
    pub fn engine_in_use(&self) -> &EngineInUse {
        self.engine.engine_in_use()
    }

    /// Ends politely: no more sends are taken (`retry`), the queue's answers are waited for, connections are closed
    /// with 1001 at a pace, and the ends of all sessions are reported. Each step has its deadline.
    pub async fn drain(self) -> DrainReport {
        let begun = Instant::now();
        self.readiness.not_ready(CONDITION, "draining");
        let deadlines = self.shared.config.drain.clone();
        let acks_complete = within(deadlines.acks_deadline_ms, self.acks()).await;
        // From here on parts end because they should.
        self.health.abort();
        let _ = self.health.await;
        self.engine.drain();
        let mut tasks = self.tasks.into_iter();
        let reporting = tasks.next();
        for task in tasks {
            task.abort();
            // The one that collects counters holds the engine until it has ended.
            let _ = task.await;
        }
        let engine = self.engine;
        let joined = tokio::task::spawn_blocking(move || join(engine)).await;
        let sessions_reported = within(deadlines.sessions_deadline_ms, self.shared.presence.flush()).await;
        if let Some(reporting) = reporting {
            reporting.abort();
        }
        self.stop_tail.notify_one();
        let tail_thread = self.tail_thread;
        if !matches!(tokio::task::spawn_blocking(move || tail_thread.join()).await, Ok(Ok(()))) {
            tracing::error!("the downstream thread ended by a panic");
        }
        let took_ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
        DrainReport { acks_complete, sessions_reported, engine: joined.unwrap_or_default(), took_ms }
    }

    /// Waits until no shard has a send that the queue has not answered.
    async fn acks(&self) {
        ask_all(&self.mailboxes, Mail::Drain).await;
    }
}

/// Posts a mail to every shard and waits for their answers. A shard that has ended has nothing to say.
pub(crate) async fn ask_all(mailboxes: &Mailboxes<Mail>, mail: impl Fn(oneshot::Sender<()>) -> Mail) {
    let ask = |shard| {
        let (done, answer) = oneshot::channel();
        mailboxes.shard(shard).post_reserved(mail(done));
        answer
    };
    let answers: Vec<_> = (0..mailboxes.len()).map(ask).collect();
    for answer in answers {
        let _ = answer.await;
    }
}

async fn within(deadline_ms: u64, work: impl Future<Output = ()>) -> bool {
    timeout(Duration::from_millis(deadline_ms), work).await.is_ok()
}

/// Waits for the shards. A count of the engine's numbers that is just going on holds it for a second at most.
fn join(mut engine: Arc<Engine<Shard>>) -> gochat_core::DrainReport {
    loop {
        match Arc::try_unwrap(engine) {
            Ok(engine) => return engine.join(),
            Err(shared) => engine = shared,
        }
        thread::sleep(Duration::from_millis(5));
    }
}

fn share(
    config: GatewayConfig,
    deps: &GatewayDeps,
    instance: &Arc<str>,
    side: Side,
    presence: Presence,
) -> Arc<Shared> {
    Arc::new(Shared {
        frame_limits: frame_limits(&config),
        upgrade_rules: UpgradeRules {
            allow_query_token: config.auth.allow_query_token,
            allowed_origins: config.auth.allowed_origins.clone(),
        },
        keys: deps.keys.clone(),
        instance: Arc::clone(instance),
        slot: deps.slot,
        producer: deps.queue.producer(),
        side,
        presence,
        config,
    })
}

/// What must not end before the gateway does; the tasks in the order in which they were started.
fn parts([auth, data]: [AbortHandle; 2], tasks: &[JoinHandle<()>]) -> Vec<Part> {
    let names = ["the reporter of sessions", "the collector of counters", "the follower of revocations"];
    let lanes = [
        Part::Task("the lane of calls that hash passwords", auth),
        Part::Task("the lane of calls to logic", data),
    ];
    let named = names.into_iter().zip(tasks).map(|(name, task)| Part::Task(name, task.abort_handle()));
    lanes.into_iter().chain(named).collect()
}

fn frame_limits(config: &GatewayConfig) -> FrameLimits {
    FrameLimits {
        content_max_bytes: config.upstream.content_max_bytes,
        heads_max: config.requests.heads_max,
        page_max: config.requests.page_max,
    }
}

fn shards(configured: usize) -> usize {
    let cores = thread::available_parallelism().map_or(1, NonZero::get);
    if configured > 0 { configured } else { cores.saturating_sub(1).max(1) }
}

fn follow(follower: Follower, runtime: Handle) -> Result<(thread::JoinHandle<()>, Part), GatewayError> {
    let (alive, end) = oneshot::channel();
    let thread = thread::Builder::new()
        .name("gateway-down".to_owned())
        .spawn(move || {
            let _alive = alive;
            runtime.block_on(follower.run());
        })
        .map_err(GatewayError::Thread)?;
    Ok((thread, Part::Thread("the thread that reads what goes out", end)))
}
