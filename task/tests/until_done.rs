//! Promise: a task is tried until it is done, what can never be done goes to the dead letter, and expired refresh
//! tokens are purged by themselves.
//!
//! Method: the real queue and the real repo, with calls between them refused.
// That lint guards memory per connection; tests have none.
#![allow(clippy::large_futures)]

#[path = "../../logic/tests/promises/support/faults.rs"]
mod faults;

use std::time::{SystemTime, UNIX_EPOCH};

use faults::{Door, Fault, Faults};
use gochat_infra::cache::{Cache, MemoryCache, MemoryCacheConfig};
use gochat_infra::mq::{ConsumerConfig, EmbeddedConfig, Event, Outgoing, Queue, Target, TopicConfig};
use gochat_infra::registry::Registry;
use gochat_infra::rpc::Client;
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::Metrics;
use gochat_proto::queue::v1::DeadLetter;
use gochat_proto::repo::v1::rotate_refresh_token_response::Outcome;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::{
    CreateRefreshTokenRequest, CreateUserRequest, RefreshToken, RotateRefreshTokenRequest, User, UserStatus,
};
use gochat_proto::topics;
use gochat_repo::{Repo, RepoConfig, RepoDeps};
use gochat_task::{Task, TaskConfig, TaskDeps};
use prost::Message;

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

struct House {
    /// Holds the files.
    _dir: tempfile::TempDir,
    repo: Repo,
    queue: Queue,
    faults: Faults,
}

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}

impl House {
    async fn open() -> House {
        let dir = tempfile::tempdir().unwrap();
        let mut config = RepoConfig::default();
        config.sqlite.file = dir.path().join("gochat.db");
        let cache = Cache::Memory(MemoryCache::new(&MemoryCacheConfig::default()));
        let repo = Repo::open(config, RepoDeps { cache, metrics: Metrics::new() }).await.unwrap();
        let queue = Queue::open_embedded(EmbeddedConfig {
            dir: dir.path().join("queue"),
            topics: vec![
                TopicConfig::durable(topics::TASKS, 1),
                TopicConfig::kept(topics::DEAD_LETTER, 1, 1 << 40, 1 << 30),
            ],
            ..EmbeddedConfig::default()
        })
        .unwrap();
        House { _dir: dir, repo, queue, faults: Faults::default() }
    }

    fn users(&self) -> UserRepoClient<Client> {
        UserRepoClient::new(Client::local(self.repo.routes()))
    }

    async fn start(&self, config: TaskConfig) -> (Task, Shutdown, Metrics) {
        let (shutdown, metrics) = (Shutdown::new(), Metrics::new());
        let deps = TaskDeps {
            repo: Client::local(self.faults.wrap(self.repo.routes())),
            queue: self.queue.clone(),
            registry: Registry::fixed(Vec::new()),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        (Task::start(config, deps).await.unwrap(), shutdown, metrics)
    }

    async fn give_token(&self, number: u8, expires_at_ms: i64) {
        let token = RefreshToken {
            token_hash: vec![number; 32],
            family_id: u64::from(number) + 1,
            user_id: 1,
            device_id: "phone".into(),
            expires_at_ms,
        };
        let request = CreateRefreshTokenRequest { token: Some(token) };
        self.users().create_refresh_token(request).await.unwrap();
    }

    async fn make_user(&self) {
        let user = User {
            user_id: 1,
            username: "anna".into(),
            email: "anna@example.org".into(),
            password_hash: "none".into(),
            display_name: "Anna".into(),
            status: UserStatus::Active.into(),
            ..User::default()
        };
        self.users().create_user(CreateUserRequest { user: Some(user) }).await.unwrap();
    }

    /// Whether the token is there, seen by a clock of long ago so that none counts as expired.
    async fn has_token(&self, number: u8) -> bool {
        let request = RotateRefreshTokenRequest {
            token_hash: vec![number; 32],
            successor_hash: vec![number + 100; 32],
            successor_expires_at_ms: unix_ms() + DAY_MS,
            now_ms: 1,
            grace_ms: 0,
            revocation_expires_at_ms: None,
        };
        let rotated = self.users().rotate_refresh_token(request).await.unwrap().into_inner();
        rotated.outcome() == Outcome::Rotated
    }

    async fn send(&self, value: Vec<u8>) {
        let record = Outgoing {
            topic: topics::TASKS,
            target: Target::Partition(0),
            key: "k".into(),
            value: value.into(),
        };
        self.queue.producer().send_wait(record).await.unwrap();
    }

    async fn dead_letter(&self) -> DeadLetter {
        let topics = &[topics::DEAD_LETTER];
        let mut consumer = self.queue.consumer("test", topics, ConsumerConfig::default()).unwrap();
        loop {
            if let Event::Records(records) = consumer.next().await {
                return DeadLetter::decode(records[0].value.clone()).unwrap();
            }
        }
    }
}

#[tokio::test]
async fn expired_tokens_are_purged_in_steps_although_calls_fail() {
    let house = House::open().await;
    house.make_user().await;
    for number in 0..5 {
        house.give_token(number, unix_ms() - DAY_MS).await;
    }
    house.give_token(9, unix_ms() + DAY_MS).await;
    let last_step = Door::closed();
    house.faults.plan("PurgeRefreshTokens", 2, Fault::Refuse);
    house.faults.plan("PurgeRefreshTokens", 1, Fault::LoseAnswer);
    // Of 5 rows the lost step deleted 2; 2 and 1 are left.
    house.faults.plan("PurgeRefreshTokens", 1, Fault::Hold(last_step.clone()));
    let (task, shutdown, metrics) = house
        .start(TaskConfig {
            purge_step_rows: 2,
            backoff_min_ms: 1,
            backoff_max_ms: 2,
            ..TaskConfig::default()
        })
        .await;
    last_step.arrival().await;
    last_step.open();
    // A task behind it is only reached when it is done.
    house.send(vec![0xff; 5]).await;
    house.dead_letter().await;
    for number in 0..5 {
        assert!(!house.has_token(number).await, "{number}");
    }
    assert!(house.has_token(9).await);
    shutdown.trigger();
    task.join().await;
    let text = metrics.encode();
    assert!(text.contains(r#"task_tasks_total{kind="purge-refresh-tokens",outcome="retry"} 3"#), "{text}");
    assert!(text.contains(r#"task_tasks_total{kind="purge-refresh-tokens",outcome="done"} 1"#), "{text}");
}

#[tokio::test]
async fn what_can_never_be_done_is_buried_with_its_reason() {
    let house = House::open().await;
    let (task, shutdown, _) = house.start(TaskConfig::default()).await;
    house
        .send(gochat_proto::queue::v1::Task { task_id: "t".into(), ..Default::default() }.encode_to_vec())
        .await;
    let letter = house.dead_letter().await;
    assert!(letter.error.contains("does not know"), "{}", letter.error);
    assert_eq!((letter.topic.as_str(), &letter.key[..]), (topics::TASKS, &b"k"[..]));
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn a_task_that_was_not_done_is_done_after_a_restart() {
    let house = House::open().await;
    house.make_user().await;
    house.give_token(0, unix_ms() - DAY_MS).await;
    house.faults.plan("PurgeRefreshTokens", 1, Fault::Refuse);
    let hour_ms = 3_600_000;
    let slow = TaskConfig { backoff_min_ms: hour_ms, backoff_max_ms: hour_ms, ..TaskConfig::default() };
    let (task, shutdown, _) = house.start(slow).await;
    while house.faults.left() > 0 {
        tokio::task::yield_now().await;
    }
    shutdown.trigger();
    task.join().await;
    let (task, shutdown, _) = house.start(TaskConfig::default()).await;
    house.send(vec![0xff; 5]).await;
    house.dead_letter().await;
    assert!(!house.has_token(0).await);
    shutdown.trigger();
    task.join().await;
}
