//! What only jobs can show that behave as a test says: the real service on the real queue, with scripted turns.
mod bounds;
mod poison;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use gochat_infra::mq::{EmbeddedConfig, Outgoing, Queue, Record, Target, TopicConfig};
use gochat_infra::registry::Registry;
use gochat_infra::rpc::Client;
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::Metrics;
use gochat_proto::queue::v1::DeadLetter;
use gochat_proto::topics;
use prost::Message;
use tonic::service::Routes;

use crate::jobs::{Job, Turn};
use crate::{Task, TaskConfig, TaskDeps};

/// Only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// What a scripted job does in its next turn.
pub(crate) type Script = Box<dyn FnMut() -> Pin<Box<dyn Future<Output = Turn> + Send>> + Send>;

/// A script of turns that never wait.
fn at_once(mut turn: impl FnMut() -> Turn + Send + 'static) -> Result<Script, String> {
    Ok(Box::new(move || {
        let turn = turn();
        Box::pin(async { turn })
    }))
}

/// The service with its queue, of one partition.
struct Bench {
    _dir: tempfile::TempDir,
    queue: Queue,
    metrics: Metrics,
    shutdown: Shutdown,
}

impl Bench {
    fn open() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open_embedded(EmbeddedConfig {
            dir: dir.path().join("queue"),
            topics: vec![
                TopicConfig::durable(topics::TASKS, 1),
                TopicConfig::kept(topics::DEAD_LETTER, 1, 1 << 40, 1 << 30),
                TopicConfig::memory(topics::DOWNSTREAM, 1),
            ],
            record_max_bytes: 8 << 10,
            ..EmbeddedConfig::default()
        })
        .unwrap();
        Bench { _dir: dir, queue, metrics: Metrics::new(), shutdown: Shutdown::new() }
    }

    /// Starts the service; `script` gives each task its turns by its value. The regular purges are done at once.
    fn start(
        &self,
        config: TaskConfig,
        script: impl Fn(&str) -> Result<Script, String> + Send + Sync + 'static,
    ) -> Task {
        let deps = TaskDeps {
            repo: Client::local(Routes::default()),
            queue: self.queue.clone(),
            registry: Registry::fixed(Vec::new()),
            metrics: self.metrics.clone(),
            shutdown: self.shutdown.clone(),
        };
        let open = move |record: &Record| match record.key.starts_with(b"purge") {
            true => ("purge", at_once(|| Turn::Done)),
            false => ("scripted", script(std::str::from_utf8(&record.value).unwrap())),
        };
        let open = move |record: &Record, _: &Arc<_>| {
            let (kind, script) = open(record);
            (kind, script.map(Job::Scripted))
        };
        Task::start_with(config, deps, Arc::new(open)).unwrap()
    }

    async fn send(&self, key: impl Into<String>, value: impl Into<String>) {
        let (key, value) = (key.into().into(), value.into().into());
        let record = Outgoing { topic: topics::TASKS, target: Target::ByKey, key, value };
        self.queue.producer().send_wait(record).await.unwrap();
    }

    /// The dead letters there are.
    async fn dead_letters(&self) -> Vec<DeadLetter> {
        let records = self.queue.read(topics::DEAD_LETTER, 0, 0, 1000, usize::MAX).await.unwrap();
        records.into_iter().map(|record| DeadLetter::decode(record.value).unwrap()).collect()
    }

    /// The value of a metric with its labels; 0 when it is not there.
    fn metric(&self, name: &str) -> u64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0, |value| value.parse().unwrap())
    }

    async fn until(&self, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "it never came about:\n{}", self.metrics.encode());
            tokio::task::yield_now().await;
        }
    }

    /// Waits until so many scripted tasks are done.
    async fn done(&self, count: u64) {
        self.until(|| self.metric(r#"task_tasks_total{kind="scripted",outcome="done"}"#) == count).await;
    }

    async fn stop(self, task: Task) {
        self.shutdown.trigger();
        task.join().await;
    }
}

/// Waits that no test feels.
fn quick() -> TaskConfig {
    TaskConfig { backoff_min_ms: 1, backoff_max_ms: 1, ..TaskConfig::default() }
}
