//! Work that takes longer than a request: tasks come by queue and are tried until they are done.
//!
//! *Invariants:* tasks of a partition run one after the other, and an offset is committed only over tasks that are
//! done or in the dead letter. A task may run twice, so every processor is idempotent.
#![forbid(unsafe_code)]
// That lint guards memory per connection. Here there are two futures in all.
#![allow(clippy::large_futures)]

mod config;
mod consume;
mod dead_letter;
mod dispatch;
mod metrics;
mod processors;
mod retry;
mod schedule;

use std::time::{SystemTime, UNIX_EPOCH};

use gochat_infra::mq::{ConsumerConfig, Queue, QueueError};
use gochat_infra::rpc;
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::Metrics;
use gochat_proto::topics;
use tokio::task::JoinHandle;

pub use config::{BadConfig, TaskConfig};

use consume::Consume;
use dispatch::Processors;
use metrics::TaskMetrics;
use retry::Waiting;

/// What the service is given.
pub struct TaskDeps {
    /// The way to repo.
    pub repo: rpc::Client,
    pub queue: Queue,
    pub metrics: Metrics,
    /// Ends the service after the step under way; a task that is not done is done again at the next start.
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
    consume: JoinHandle<()>,
    schedule: JoinHandle<()>,
}

impl Task {
    /// Starts taking tasks, and putting the regular ones on the topic. Must run in a tokio runtime.
    ///
    /// # Errors
    /// A setting that cannot work, or a queue without our topics.
    pub async fn start(config: TaskConfig, deps: TaskDeps) -> Result<Task, StartError> {
        config.validate()?;
        let metrics = deps.metrics.with("task", TaskMetrics::register);
        let bounds = ConsumerConfig { max_records: config.batch_records, max_bytes: config.batch_bytes };
        let consume = Consume {
            consumer: deps.queue.consumer(topics::GROUP_TASK, &[topics::TASKS], bounds)?,
            producer: deps.queue.producer(),
            processors: Processors::new(&config, deps.repo, deps.shutdown.clone()),
            waiting: Waiting::new(config.backoff_min_ms, config.backoff_max_ms),
            metrics: metrics.clone(),
            shutdown: deps.shutdown.clone(),
        };
        let schedule = schedule::run(config, deps.queue.producer(), metrics, deps.shutdown);
        Ok(Task { consume: tokio::spawn(consume.run()), schedule: tokio::spawn(schedule) })
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
