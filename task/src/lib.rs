//! Work that takes longer than a request: tasks come by queue and are tried until they are done.
//!
//! *Invariants:* tasks of one key run one after the other, those of different keys at the same time and in short turns.
//! An offset is committed only when it and all before it in its partition are done or in the dead letter. A task may run
//! twice, so every job is idempotent.
#![forbid(unsafe_code)]
// That lint guards memory per connection. Here the number of futures has a bound.
#![allow(clippy::large_futures)]

mod attempt;
mod backoff;
mod config;
mod consume;
mod dead_letter;
mod grpc;
mod jobs;
mod lanes;
mod metrics;
mod schedule;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use gochat_infra::mq::{ConsumerConfig, Queue, QueueError};
use gochat_infra::registry::Registry;
use gochat_infra::rpc;
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::Metrics;
use gochat_proto::task::v1::dead_letter_service_server::DeadLetterServiceServer;
use gochat_proto::topics;
use tokio::sync::Semaphore;
use tokio::task::{JoinHandle, JoinSet};
use tonic::service::Routes;

pub use config::{BadConfig, TaskConfig};

use attempt::{Attempts, Open};
use backoff::Backoff;
use consume::Consume;
use grpc::DeadLetters;
use jobs::{Job, Tools};
use lanes::Lanes;
use metrics::TaskMetrics;

/// What the service is given.
pub struct TaskDeps {
    /// The way to repo.
    pub repo: rpc::Client,
    pub queue: Queue,
    /// Where the gateways stand.
    pub registry: Registry,
    pub metrics: Metrics,
    /// Ends the service after the turns under way; a task that is not done goes on at the next start.
    pub shutdown: Shutdown,
}

/// Why the service did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error(transparent)]
    Config(#[from] BadConfig),
    #[error(transparent)]
    Queue(#[from] QueueError),
}

/// The running service.
pub struct Task {
    routes: Routes,
    consume: JoinHandle<()>,
    schedule: JoinHandle<()>,
}

impl Task {
    /// Starts taking tasks, and putting the regular ones on the topic. Must run in a tokio runtime.
    ///
    /// # Errors
    /// A setting that cannot work, or a queue without our topics.
    pub async fn start(config: TaskConfig, deps: TaskDeps) -> Result<Task, StartError> {
        Task::start_with(config, deps, Arc::new(Job::open))
    }

    fn start_with(config: TaskConfig, deps: TaskDeps, open: Open) -> Result<Task, StartError> {
        config.validate()?;
        let metrics = deps.metrics.with("task", TaskMetrics::register);
        let bounds = ConsumerConfig { max_records: config.batch_records, max_bytes: config.batch_bytes };
        let consumer = deps.queue.consumer(topics::GROUP_TASK, &[topics::TASKS], bounds)?;
        let (producer, shutdown) = (deps.queue.producer(), deps.shutdown);
        let tools = Tools {
            repo: deps.repo,
            registry: deps.registry,
            producer: producer.clone(),
            config: config.clone(),
        };
        let attempts = Attempts {
            tools: Arc::new(tools),
            open,
            turns: Semaphore::new(config.turns_at_once),
            panics_max: config.panics_max,
            producer: producer.clone(),
            backoff: Backoff { min_ms: config.backoff_min_ms, max_ms: config.backoff_max_ms },
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let consume = Consume {
            consumer,
            attempts: Arc::new(attempts),
            lanes: Lanes::default(),
            running: JoinSet::new(),
            paused: BTreeSet::new(),
            full: None,
            config: config.clone(),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let letters = DeadLetters {
            queue: deps.queue,
            producer: producer.clone(),
            page_max: config.dead_letters_page_max,
            page_max_bytes: config.dead_letters_page_max_bytes,
            metrics: metrics.clone(),
        };
        let routes = Routes::new(DeadLetterServiceServer::new(letters));
        let schedule = schedule::run(config, producer, metrics, shutdown);
        Ok(Task { routes, consume: tokio::spawn(consume.run()), schedule: tokio::spawn(schedule) })
    }

    /// The services: `DeadLetterService`.
    pub fn routes(&self) -> Routes {
        self.routes.clone()
    }

    /// Tells which part has ended, if one has: before the shutdown that is a fault, and tasks wait until a restart.
    pub fn ended(&self) -> impl Fn() -> Option<&'static str> + Send + Sync + use<> {
        let parts = [
            ("what takes tasks", self.consume.abort_handle()),
            ("what puts regular tasks on the topic", self.schedule.abort_handle()),
        ];
        move || parts.iter().find_map(|(name, part)| part.is_finished().then_some(*name))
    }

    /// Waits for the end that the shutdown began.
    pub async fn join(self) {
        let _ = self.consume.await;
        let _ = self.schedule.await;
    }
}

/// Now, in milliseconds since 1970, UTC.
fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
