//! The service between the real queue and the real repo.
pub(crate) mod crowd;

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gochat_infra::cache::{Cache, MemoryCache, MemoryCacheConfig};
use gochat_infra::mq::{EmbeddedConfig, Outgoing, Queue, Record, Target, TopicConfig};
use gochat_infra::registry::{Instance, Registry};
use gochat_infra::rpc::Client;
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::Metrics;
use gochat_proto::queue::v1::DeadLetter;
use gochat_proto::repo::v1::CreateUsersRequest;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::topics;
use gochat_repo::{Repo, RepoConfig, RepoDeps};
use gochat_task::{Task, TaskConfig, TaskDeps};
use prost::Message;

use crate::faults::Faults;

/// Only ends a test that would hang.
const PATIENCE: Duration = Duration::from_secs(60);

/// Gateways and their slots.
pub(crate) const GATEWAYS: [(&str, u32); 2] = [("gw-a", 0), ("gw-b", 1)];

pub(crate) struct House {
    /// Holds the files.
    _dir: tempfile::TempDir,
    repo: Repo,
    pub(crate) queue: Queue,
    pub(crate) faults: Faults,
}

pub(crate) fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

impl House {
    pub(crate) async fn open() -> House {
        let dir = tempfile::tempdir().unwrap();
        let mut config = RepoConfig::default();
        config.sqlite.file = dir.path().join("gochat.db");
        let cache = Cache::Memory(MemoryCache::new(&MemoryCacheConfig::default()));
        let repo = Repo::open(config, RepoDeps { sessions: cache.clone(), cache, metrics: Metrics::new() })
            .await
            .unwrap();
        let queue = Queue::open_embedded(EmbeddedConfig {
            dir: dir.path().join("queue"),
            topics: vec![
                TopicConfig::durable(topics::TASKS, 1),
                TopicConfig::durable(topics::UPSTREAM, 3),
                TopicConfig::kept(topics::DEAD_LETTER, 1, 1 << 40, 1 << 30),
                TopicConfig::memory(topics::DOWNSTREAM, 2),
            ],
            ..EmbeddedConfig::default()
        })
        .unwrap();
        House { _dir: dir, repo, queue, faults: Faults::default() }
    }

    /// The way to repo, without faults.
    pub(crate) fn client(&self) -> Client {
        Client::local(self.repo.routes())
    }

    pub(crate) fn users(&self) -> UserRepoClient<Client> {
        UserRepoClient::new(self.client())
    }

    pub(crate) async fn start(&self, config: TaskConfig) -> (Task, Shutdown, Metrics) {
        let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
        let gateways = GATEWAYS.map(|(instance_id, slot)| Instance {
            service: topics::SERVICE_GATEWAY.into(),
            instance_id: instance_id.into(),
            slot,
            address: String::new(),
        });
        let deps = TaskDeps {
            repo: Client::local(self.faults.wrap(self.repo.routes())),
            queue: self.queue.clone(),
            registry: Registry::fixed(gateways.to_vec()),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        (Task::start(config, deps).await.unwrap(), shutdown, metrics)
    }

    /// Users 1 to `count`.
    pub(crate) async fn make_users(&self, count: u64) {
        let request = CreateUsersRequest { users: (1..=count).map(crowd::user).collect() };
        self.users().create_users(request).await.unwrap();
    }

    /// Puts a task on the topic.
    pub(crate) async fn send(&self, key: &'static str, value: Vec<u8>) {
        let record =
            Outgoing { topic: topics::TASKS, target: Target::ByKey, key: key.into(), value: value.into() };
        self.queue.producer().send_wait(record).await.unwrap();
    }

    /// Waits for this dead letter.
    pub(crate) async fn dead_letter(&self, offset: u64) -> DeadLetter {
        DeadLetter::decode(self.record(topics::DEAD_LETTER, 0, offset).await.value).unwrap()
    }

    /// Waits for a record to be shown: whoever sent it is told before whoever reads.
    pub(crate) async fn record(&self, topic: &str, partition: u32, offset: u64) -> Record {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let found = self.queue.read(topic, partition, offset, 1, usize::MAX).await.unwrap();
            if let Some(record) = found.into_iter().next() {
                return record;
            }
            assert!(Instant::now() < deadline, "nothing at {offset} of {topic}/{partition}");
            tokio::task::yield_now().await;
        }
    }

    pub(crate) async fn until(&self, condition: impl Fn() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !condition() {
            assert!(Instant::now() < deadline, "it never came about");
            tokio::task::yield_now().await;
        }
    }
}
