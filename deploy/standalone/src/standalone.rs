//! Every service in one process: who is started with what, and who stops before whom.
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow};
use gochat_gateway::{Gateway, GatewayConfig, GatewayDeps};
use gochat_infra::admin::{self, AdminServer, Readiness};
use gochat_infra::cache::{Cache, MemoryCache};
use gochat_infra::idgen::IdGen;
use gochat_infra::mq::{Queue, QueueError};
use gochat_infra::registry::{Instance, Registry};
use gochat_infra::rpc::{Client, RpcConfig};
use gochat_infra::shutdown::{Sequence, Shutdown};
use gochat_infra::telemetry::{self, Metrics};
use gochat_infra::token::TokenKeys;
use gochat_logic::{Logic, LogicDeps};
use gochat_proto::admin::v1::backup_service_server::BackupServiceServer;
use gochat_proto::admin::v1::key_service_server::KeyServiceServer;
use gochat_proto::topics;
use gochat_repo::{Repo, RepoDeps};
use gochat_task::{Task, TaskDeps};
use rustix::process::{Resource, getrlimit, setrlimit};
use tokio::runtime::Handle;
use tonic::service::Routes;

use crate::backup::Backups;
use crate::config::Config;
use crate::control::{Commands, Control};
use crate::data_dir::DataDir;
use crate::health::{Health, Looked};
use crate::keys::Keys;
use crate::{VERSION, say};

/// The only worker that draws ids in this folder.
pub(crate) const WORKER_ID: u16 = 0;
/// What helps against damage.
const RESTORE: &str = "restore the data folder from a backup (gochat restore)";
/// How long a stop waits for a start that is under way, and the end of the process for work that nobody waits for any
/// more.
const LEAVE: Duration = Duration::from_secs(1);
/// The only gateway's partition of gochat.downstream.
const GATEWAY_SLOT: u32 = 0;

/// Opens the store of a data folder.
pub(crate) async fn open_repo(config: &Config, data: &DataDir, metrics: &Metrics) -> Result<Repo> {
    let mut settings = config.repo.clone();
    settings.sqlite.file = data.store();
    let (cache, sessions) = (MemoryCache::new(&config.cache), MemoryCache::new(&config.sessions.bounds()));
    cache.register_metrics(metrics, "cache");
    sessions.register_metrics(metrics, "sessions");
    let deps =
        RepoDeps { cache: Cache::Memory(cache), sessions: Cache::Memory(sessions), metrics: metrics.clone() };
    let opened = Repo::open(settings, deps).await;
    // Of such an error the number says nothing here, and the sentence all.
    opened.map_err(|error| anyhow!("{}; if it is damaged, {RESTORE}", error.message))
}

/// Opens the signing keys of a data folder.
pub(crate) fn open_keys(data: &DataDir) -> Result<TokenKeys> {
    TokenKeys::load_or_create(&data.keys()).map_err(|error| {
        anyhow!("{error}; {RESTORE}, or remove the file: a new key is made, and everybody must log in again")
    })
}

/// Opens the generator of ids of a data folder.
pub(crate) fn open_ids(data: &DataDir) -> Result<IdGen> {
    IdGen::open(WORKER_ID, data.ids()).map_err(|error| {
        anyhow!("{error}; {RESTORE}, or remove the file: ids then go on from the clock, which must be right")
    })
}

fn open_queue(config: &Config, data: &DataDir) -> Result<Queue> {
    let mut settings = config.queue.clone();
    settings.dir = data.queue();
    settings.topics = config.topics.all(GATEWAY_SLOT + 1);
    Queue::open_embedded(settings).map_err(|error| match error {
        QueueError::Damaged { path, at, reason } => anyhow!(
            "the queue's file {} is damaged at byte {at} ({reason}); nothing was changed; {RESTORE}, or move {} away \
             and lose what was accepted but not stored yet",
            path.display(),
            data.queue().display()
        ),
        error => error.into(),
    })
}

/// Runs until SIGTERM or SIGINT, then stops in order.
pub(crate) fn run(config: Config) -> Result<()> {
    telemetry::init_logs(&config.log)?;
    let data = std::path::absolute(&config.data).unwrap_or_else(|_| config.data.clone());
    tracing::info!(version = VERSION.as_str(), data = %data.display(), "starting");
    raise_descriptor_limit();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let done = runtime.block_on(serve(config));
    // A start that was given up may hang, and a copy for a backup that was cut off be at work on a file that is
    // removed already.
    runtime.shutdown_timeout(LEAVE);
    done
}

/// Each connection is a file descriptor, and shells often allow only 1,024: takes what the system allows.
fn raise_descriptor_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    if limit.current == limit.maximum {
        return;
    }
    let before = limit.current;
    limit.current = limit.maximum;
    match setrlimit(Resource::Nofile, limit) {
        Ok(()) => tracing::info!(?before, now = ?limit.maximum, "file descriptor limit raised"),
        Err(error) => tracing::warn!(%error, limit = ?before, "the file descriptor limit stays low"),
    }
}

async fn serve(config: Config) -> Result<()> {
    let (config, begun) = (Arc::new(config), Instant::now());
    let shutdown = Shutdown::new();
    shutdown.on_signals()?;
    let Some(running) = start_unless_stopped(&config, &shutdown).await? else { return Ok(()) };
    // What the gateway waits for may never come; a stop does not wait with it.
    tokio::select! {
        () = running.gateway.ready() => running.announce(begun),
        () = shutdown.requested() => {}
    }
    shutdown.requested().await;
    running.stop(&config).await
}

/// Nothing, when a stop is requested and the start does not come to its end soon.
async fn start_unless_stopped(config: &Arc<Config>, shutdown: &Shutdown) -> Result<Option<Running>> {
    // On a thread of its own: much of it waits for the disk, and a signal would wait too.
    let mut starting = tokio::task::spawn_blocking({
        let config = config.clone();
        move || Handle::current().block_on(start(&config))
    });
    tokio::select! {
        started = &mut starting => return Ok(Some(started??)),
        () = shutdown.requested() => {}
    }
    // Most often it is about to end, and then all is stopped in order.
    if let Ok(started) = tokio::time::timeout(LEAVE, starting).await {
        return Ok(Some(started??));
    }
    tracing::info!("left in the middle of the start; the next one finds the data as after a crash");
    Ok(None)
}

/// Everything that has to stop, in the order in which it does.
struct Running {
    /// Locked until all has stopped.
    data: DataDir,
    /// Its commands under way need all below but the gateway: both end together.
    control: Control,
    gateway: Gateway,
    /// Ends logic and task, which stop after the gateway and not with it.
    services: Shutdown,
    logic: Logic,
    task: Task,
    repo: Repo,
    queue: Queue,
    admin: AdminServer,
    /// Ends the admin port, which answers while the rest starts and while it stops.
    admin_end: Shutdown,
    readiness: Readiness,
    health: Health,
}

/// What most parts are given.
struct Shared {
    queue: Queue,
    registry: Registry,
    keys: TokenKeys,
    instance_id: String,
    metrics: Metrics,
    readiness: Readiness,
    services: Shutdown,
}

async fn start(config: &Config) -> Result<Running> {
    let data = DataDir::open(&config.data)?;
    let (metrics, readiness, admin_end) = (Metrics::new(), Readiness::new(), Shutdown::new());
    readiness.not_ready("start", "the services are starting");
    let admin = admin::serve(config.admin, metrics.clone(), readiness.clone(), admin_end.clone())
        .await
        .with_context(|| {
            format!("the admin port {} can't be opened; choose another with --admin", config.admin)
        })?;
    let queue = open_queue(config, &data)?;
    queue.register_metrics(&metrics);
    let instance_id = instance_id()?;
    let registry = Registry::fixed(vec![Instance {
        service: topics::SERVICE_GATEWAY.to_owned(),
        instance_id: instance_id.clone(),
        slot: GATEWAY_SLOT,
        address: String::new(),
    }]);
    let keys = open_keys(&data)?;
    let shared = Shared { queue, registry, keys, instance_id, metrics, readiness, services: Shutdown::new() };

    let repo = open_repo(config, &data, &shared.metrics).await?;
    let repo_client = Client::local(repo.routes()).with_config(&config.rpc);
    let logic = start_logic(config, &data, &shared, repo_client.clone()).await?;
    let task = Task::start(
        config.task.clone(),
        TaskDeps {
            repo: repo_client.clone(),
            queue: shared.queue.clone(),
            registry: shared.registry.clone(),
            metrics: shared.metrics.clone(),
            shutdown: shared.services.clone(),
        },
    )
    .await?;
    let gateway = start_gateway(config, &shared, &logic)?;
    let commands = Commands::new();
    let orders = orders(config, &data, &shared, &commands, [logic.routes(), task.routes(), repo.routes()]);
    let control = Control::listen(data.root(), orders, commands)?;
    let looked = Looked { queue: shared.queue.clone(), repo: repo_client, task_ended: task.ended() };
    let interval = Duration::from_millis(config.health_interval_ms);
    let health = Health::start(looked, &shared.readiness, interval);
    let Shared { queue, readiness, services, .. } = shared;
    Ok(Running {
        data,
        control,
        gateway,
        services,
        logic,
        task,
        repo,
        queue,
        admin,
        admin_end,
        readiness,
        health,
    })
}

async fn start_logic(config: &Config, data: &DataDir, shared: &Shared, repo: Client) -> Result<Logic> {
    let mut settings = config.logic.clone();
    settings.auth.refresh_secret_file = data.refresh_secret();
    let deps = LogicDeps {
        repo,
        queue: shared.queue.clone(),
        registry: shared.registry.clone(),
        keys: shared.keys.clone(),
        ids: open_ids(data)?,
        metrics: shared.metrics.clone(),
        readiness: shared.readiness.clone(),
        shutdown: shared.services.clone(),
    };
    Logic::start(settings, deps).await.map_err(|error| match error {
        gochat_logic::StartError::RefreshSecret { path, source } => anyhow!(
            "the secret of refresh tokens {} can't be read ({source}); {RESTORE}, or remove the file: a new one is \
             made, and a client whose answer to a refresh was lost must log in again",
            path.display()
        ),
        error => error.into(),
    })
}

fn start_gateway(config: &Config, shared: &Shared, logic: &Logic) -> Result<Gateway> {
    let mut settings = config.gateway.clone();
    settings.listen = config.listen;
    if settings.shards == 0 {
        // The other services need cores as well.
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        settings.shards = (cores / 2).max(1);
    }
    leave_descriptors(&mut settings, config.descriptors_reserved);
    let deps = GatewayDeps {
        logic: Client::local(logic.routes()).with_config(&config.rpc),
        queue: shared.queue.clone(),
        keys: shared.keys.clone(),
        instance_id: shared.instance_id.clone(),
        slot: GATEWAY_SLOT,
        metrics: shared.metrics.clone(),
        readiness: shared.readiness.clone(),
        runtime: tokio::runtime::Handle::current(),
    };
    Gateway::start(settings, deps).with_context(|| {
        format!("the gateway can't listen on {}; if it is taken, choose another with --listen", config.listen)
    })
}

/// When clients may take every file descriptor, the queue can't begin its next segment, and /readyz can't answer.
fn leave_descriptors(settings: &mut GatewayConfig, reserved: u64) {
    let Some(limit) = getrlimit(Resource::Nofile).current else { return };
    let room = (limit - reserved.min(limit / 2)) / settings.shards as u64;
    let configured = &mut settings.edge.connections_per_shard_max;
    if *configured as u64 > room {
        tracing::warn!(
            descriptors = limit,
            reserved,
            configured = *configured,
            connections_per_shard_max = room,
            "the file descriptor limit allows fewer connections than configured: raise it, or lower gateway.edge.connections_per_shard_max"
        );
        *configured = room.max(1) as usize;
    }
}

impl Running {
    fn announce(&self, begun: Instant) {
        self.readiness.ready("start");
        tracing::info!(
            version = VERSION.as_str(),
            clients = %self.gateway.addr(),
            admin = %self.admin.addr(),
            engine = %self.gateway.engine_in_use(),
            took_ms = begun.elapsed().as_millis() as u64,
            "ready"
        );
        say(&format!("Admin port: http://{}/readyz", self.admin.addr()));
        say(&format!("GoChat is ready: http://{}/", self.gateway.addr()));
    }

    async fn stop(self, config: &Config) -> Result<()> {
        let deadline = Duration::from_millis(config.stop_deadline_ms);
        let control_deadline = Duration::from_millis(config.control_deadline_ms);
        let Running {
            data,
            control,
            gateway,
            services,
            logic,
            task,
            repo,
            queue,
            admin,
            admin_end,
            health,
            ..
        } = self;
        // From here on parts end because they should; what clients must know the gateway says.
        drop(health);
        let reports = Sequence::new()
            .stage("gateway", deadline, async move {
                let (report, ()) = tokio::join!(gateway.drain(), control.end(control_deadline));
                tracing::info!(
                    clean = report.engine.clean,
                    forced = report.engine.forced,
                    acks_complete = report.acks_complete,
                    sessions_reported = report.sessions_reported,
                    "the gateway has closed its connections"
                );
            })
            .stage("logic", deadline, async move {
                services.trigger();
                logic.join().await;
            })
            .stage("task", deadline, task.join())
            .stage("repo", deadline, async move { repo.close().await })
            .stage("queue", deadline, async move {
                // Waits for the log's thread.
                let closed = tokio::task::spawn_blocking(move || queue.close()).await;
                if let Err(error) = closed {
                    tracing::error!(%error, "the queue was not closed");
                }
            })
            .stage("admin", deadline, async move {
                admin_end.trigger();
                admin.join().await;
            })
            .run()
            .await;
        drop(data);
        anyhow::ensure!(
            reports.iter().all(|r| r.clean),
            "not every part stopped within its deadline; see the log"
        );
        Ok(())
    }
}

/// What the control socket answers: of the services' calls only those that are meant for operators.
fn orders(
    config: &Config,
    data: &DataDir,
    shared: &Shared,
    commands: &Commands,
    [logic, task, repo]: [Routes; 3],
) -> Routes {
    let backups = Backups {
        data: data.clone(),
        queue: shared.queue.clone(),
        repo: Client::local(repo).with_config(&RpcConfig { deadline_ms: config.backup_deadline_ms }),
        commands: commands.clone(),
        one_at_a_time: Arc::default(),
    };
    let token_life_ms =
        u64::from(config.logic.auth.access_token_s) * 1000 + config.gateway.auth.token_grace_ms;
    let keys = Keys { keys: shared.keys.clone(), token_life_ms };
    let router = axum::Router::new()
        .route_service("/gochat.logic.v1.AccountService/{call}", logic.prepare())
        .route_service("/gochat.task.v1.DeadLetterService/{call}", task.prepare());
    Routes::from(router)
        .add_service(BackupServiceServer::new(backups))
        .add_service(KeyServiceServer::new(keys))
}

/// Names this run of the gateway; never used again.
fn instance_id() -> Result<String> {
    let mut random = [0u8; 8];
    getrandom::fill(&mut random).map_err(|e| anyhow::anyhow!("no randomness from the system: {e}"))?;
    Ok(format!("gw-{:016x}", u64::from_be_bytes(random)))
}
