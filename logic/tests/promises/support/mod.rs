//! A house with the real queue, the real repo and, between repo and logic, a door where calls can be made to fail.
pub(crate) mod account;
pub(crate) mod faults;
pub(crate) mod inbox;

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::{SystemTime, UNIX_EPOCH};

use gochat_infra::admin::Readiness;
use gochat_infra::cache::{Cache, MemoryCache, MemoryCacheConfig};
use gochat_infra::errors::{Code, Error};
use gochat_infra::idgen::IdGen;
use gochat_infra::mq::{ConsumerConfig, EmbeddedConfig, Event, Outgoing, Queue, Target, TopicConfig};
use gochat_infra::registry::{Instance, Registry};
use gochat_infra::rpc::{Client, RpcConfig};
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::Metrics;
use gochat_infra::token::TokenKeys;
use gochat_logic::{Logic, LogicConfig, LogicDeps};
use gochat_proto::common::v1::{Message, MessageType, Session};
use gochat_proto::logic::v1::account_service_client::AccountServiceClient;
use gochat_proto::logic::v1::auth_service_client::AuthServiceClient;
use gochat_proto::logic::v1::conversation_service_client::ConversationServiceClient;
use gochat_proto::logic::v1::revocation_service_client::RevocationServiceClient;
use gochat_proto::logic::v1::session_service_client::SessionServiceClient;
use gochat_proto::logic::v1::user_service_client::UserServiceClient;
use gochat_proto::queue::v1::UpstreamMessage;
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::session_change::Kind;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::{
    CreateUsersRequest, GetConversationMessagesRequest, SessionChange, SetUserSessionRequest, User,
    UserStatus,
};
use gochat_proto::topics;
use gochat_repo::{Repo, RepoConfig, RepoDeps};
use prost::Message as _;

use self::faults::Faults;
use self::inbox::{EventLog, Inbox};

/// Gateways in the registry: `g0` reads slot 0, `g1` slot 1.
pub(crate) const GATEWAYS: u32 = 2;

pub(crate) struct House {
    pub(crate) dir: tempfile::TempDir,
    pub(crate) repo: Repo,
    /// Straight to repo.
    pub(crate) direct: Client,
    /// What happens to logic's calls.
    pub(crate) faults: Faults,
    pub(crate) queue: Queue,
    pub(crate) ids: IdGen,
    pub(crate) keys: TokenKeys,
}

/// A running logic and its services.
pub(crate) struct Running {
    logic: Logic,
    shutdown: Shutdown,
    pub(crate) metrics: Metrics,
    pub(crate) readiness: Readiness,
    pub(crate) client: Client,
}

impl Running {
    pub(crate) fn auth(&self) -> AuthServiceClient<Client> {
        AuthServiceClient::new(self.client.clone())
    }

    pub(crate) fn accounts(&self) -> AccountServiceClient<Client> {
        AccountServiceClient::new(self.client.clone())
    }

    pub(crate) fn revocations(&self) -> RevocationServiceClient<Client> {
        RevocationServiceClient::new(self.client.clone())
    }

    pub(crate) fn users(&self) -> UserServiceClient<Client> {
        UserServiceClient::new(self.client.clone())
    }

    pub(crate) fn conversations(&self) -> ConversationServiceClient<Client> {
        ConversationServiceClient::new(self.client.clone())
    }

    pub(crate) fn sessions(&self) -> SessionServiceClient<Client> {
        SessionServiceClient::new(self.client.clone())
    }

    pub(crate) async fn stop(self) {
        self.shutdown.trigger();
        self.logic.join().await;
    }

    /// A counter or gauge of logic by its full name, labels included; 0 when it was never touched.
    pub(crate) fn metric(&self, name: &str) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.map_or(0.0, |value| value.parse().expect("a number"))
    }
}

impl House {
    pub(crate) async fn open() -> House {
        House::open_with(|_| {}).await
    }

    pub(crate) async fn open_with(change: impl FnOnce(&mut RepoConfig)) -> House {
        let dir = tempfile::tempdir().unwrap();
        let mut repo = RepoConfig::default();
        change(&mut repo);
        repo.sqlite.file = dir.path().join("gochat.db");
        let cache = Cache::Memory(MemoryCache::new(&MemoryCacheConfig::default()));
        let repo = Repo::open(repo, RepoDeps { sessions: cache.clone(), cache, metrics: Metrics::new() })
            .await
            .unwrap();
        let queue = Queue::open_embedded(EmbeddedConfig {
            dir: dir.path().join("queue"),
            topics: vec![
                TopicConfig::durable(topics::UPSTREAM, 4),
                TopicConfig::memory(topics::DOWNSTREAM, GATEWAYS),
                TopicConfig::memory(topics::EVENTS_USER, 1),
                TopicConfig::memory(topics::EVENTS_GROUP, 1),
                TopicConfig::memory(topics::EVENTS_MESSAGE, 1),
                TopicConfig::durable(topics::TASKS, 1),
                TopicConfig::kept(topics::DEAD_LETTER, 1, 1 << 40, 1 << 30),
            ],
            ..EmbeddedConfig::default()
        })
        .unwrap();
        let direct = Client::local(repo.routes());
        let faults = Faults::default();
        let ids = IdGen::open(1, dir.path().join("ids")).unwrap();
        let keys = TokenKeys::load_or_create(&dir.path().join("token.json")).unwrap();
        House { dir, repo, direct, faults, queue, ids, keys }
    }

    /// Quick hashes and short waits; otherwise the defaults.
    pub(crate) fn config(&self) -> LogicConfig {
        let mut config = LogicConfig::default();
        config.auth.refresh_secret_file = self.path("refresh.key");
        config.auth.argon2_memory_kib = 64;
        config.auth.argon2_passes = 1;
        config.pipeline.backoff_min_ms = 1;
        config.pipeline.backoff_max_ms = 20;
        config
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) async fn start(&self) -> Running {
        self.start_with(self.config(), self.ids.clone()).await
    }

    pub(crate) async fn start_with(&self, config: LogicConfig, ids: IdGen) -> Running {
        self.start_on(config, ids, self.queue.clone()).await
    }

    pub(crate) async fn start_on(&self, config: LogicConfig, ids: IdGen, queue: Queue) -> Running {
        let gateway = |slot: u32| Instance {
            service: topics::SERVICE_GATEWAY.into(),
            instance_id: format!("g{slot}"),
            slot,
            address: String::new(),
        };
        let (shutdown, metrics, readiness) = (Shutdown::new(), Metrics::new(), Readiness::new());
        let deps = LogicDeps {
            repo: Client::local(self.faults.wrap(self.repo.routes())),
            queue,
            registry: Registry::fixed((0..GATEWAYS).map(gateway).collect()),
            keys: self.keys.clone(),
            ids,
            metrics: metrics.clone(),
            readiness: readiness.clone(),
            shutdown: shutdown.clone(),
        };
        let logic = Logic::start(config, deps).await.unwrap();
        // A busy machine may take its time over a password; what is refused is refused at once.
        let client = Client::local(logic.routes()).with_config(&RpcConfig { deadline_ms: 60_000 });
        Running { logic, shutdown, metrics, readiness, client }
    }

    /// Reads what gateway `slot` gets from now on.
    pub(crate) fn inbox(&self, slot: u32) -> Inbox {
        Inbox::new(self.queue.tail(topics::DOWNSTREAM, slot).unwrap())
    }

    /// What has been put on a durable topic, waiting until there is so much of it.
    pub(crate) async fn queued<T: prost::Message + Default>(
        &self,
        topic: &'static str,
        expect: usize,
    ) -> Vec<T> {
        let mut consumer = self.queue.consumer("test", &[topic], ConsumerConfig::default()).unwrap();
        let mut found = Vec::new();
        while found.len() < expect {
            if let Event::Records(records) = consumer.next().await {
                found.extend(records.into_iter().map(|record| T::decode(record.value).unwrap()));
            }
        }
        found
    }

    /// Another queue, as of another server; it takes no tasks.
    pub(crate) fn second_queue(&self) -> Queue {
        Queue::open_embedded(EmbeddedConfig {
            dir: self.path("queue-2"),
            topics: vec![
                TopicConfig::durable(topics::UPSTREAM, 4),
                TopicConfig::memory(topics::DOWNSTREAM, GATEWAYS),
                TopicConfig::durable(topics::DEAD_LETTER, 1),
            ],
            ..EmbeddedConfig::default()
        })
        .unwrap()
    }

    /// Follows one of the topics of events from now on.
    pub(crate) fn events<E: prost::Message + Default>(&self, topic: &'static str) -> EventLog<E> {
        EventLog::new(self.queue.tail(topic, 0).unwrap())
    }

    /// Users 1..=n, who are in world.
    pub(crate) async fn seed_users(&self, n: u64) {
        let user = |user_id: u64| User {
            user_id,
            username: format!("user{user_id}"),
            email: format!("user{user_id}@example.org"),
            password_hash: "none".into(),
            display_name: format!("User {user_id}"),
            status: UserStatus::Active.into(),
            created_at_ms: unix_ms(),
            updated_at_ms: unix_ms(),
            ..User::default()
        };
        let request = CreateUsersRequest { users: (1..=n).map(user).collect() };
        UserRepoClient::new(self.direct.clone()).create_users(request).await.unwrap();
    }

    /// `user` is connected to gateway `slot`, as if for long.
    pub(crate) async fn connect(&self, user: u64, slot: u32) {
        let change = session(user, slot, Kind::Set);
        let request = SetUserSessionRequest { changes: vec![change] };
        UserRepoClient::new(self.direct.clone()).set_user_session(request).await.unwrap();
    }

    /// Sends as gateway 0 does for a client.
    pub(crate) async fn send(&self, sender: u64, conversation: &str, client_msg_id: &str, content: &str) {
        self.send_record(
            conversation,
            upstream(sender, conversation, client_msg_id, content).encode_to_vec(),
        )
        .await;
    }

    pub(crate) async fn send_record(&self, key: &str, value: Vec<u8>) {
        send_to(&self.queue, key, value).await;
    }

    /// All messages of a conversation, in order, from the store.
    pub(crate) async fn stored(&self, conversation: &str) -> Vec<Message> {
        let mut all: Vec<Message> = Vec::new();
        loop {
            let request = GetConversationMessagesRequest {
                conversation_id: conversation.into(),
                after_seq: Some(all.last().map_or(0, |last| last.seq_id)),
                limit: 500,
                ..GetConversationMessagesRequest::default()
            };
            let mut repo = MessageRepoClient::new(self.direct.clone());
            let page = match repo.get_conversation_messages(request).await.map_err(Error::from) {
                Ok(page) => page.into_inner(),
                Err(error) if error.code == Code::ConversationNotFound => return all,
                Err(error) => panic!("{error}"),
            };
            all.extend(page.messages);
            if !page.has_more {
                return all;
            }
        }
    }

    /// The messages of a conversation after checking that their seqs are 1, 2, 3, … and no client key is there twice.
    pub(crate) async fn dense(&self, conversation: &str) -> Vec<Message> {
        let stored = self.stored(conversation).await;
        let mut keys = HashMap::new();
        for (index, message) in stored.iter().enumerate() {
            assert_eq!(message.seq_id, index as u64 + 1, "a gap or a reuse in {conversation}");
            let before = keys.insert((message.sender_id, message.client_msg_id.clone()), message.seq_id);
            assert_eq!(before, None, "{} is stored twice", message.client_msg_id);
        }
        stored
    }
}

pub(crate) async fn send_to(queue: &Queue, key: &str, value: Vec<u8>) {
    let record = Outgoing {
        topic: topics::UPSTREAM,
        target: Target::ByKey,
        key: key.to_owned().into(),
        value: value.into(),
    };
    queue.producer().send_wait(record).await.unwrap();
}

pub(crate) fn upstream(
    sender: u64,
    conversation: &str,
    client_msg_id: &str,
    content: &str,
) -> UpstreamMessage {
    UpstreamMessage {
        conversation_id: conversation.into(),
        sender_id: sender,
        device_id: "phone".into(),
        client_msg_id: client_msg_id.into(),
        content: content.into(),
        message_type: MessageType::Text.into(),
        received_at_ms: unix_ms(),
        gateway_instance: "g0".into(),
        gateway_slot: 0,
        connection_id: sender.wrapping_mul(1000),
    }
}

pub(crate) fn session(user: u64, slot: u32, kind: Kind) -> SessionChange {
    let session = Session {
        user_id: user,
        device_id: format!("device-{slot}"),
        gateway_instance: format!("g{slot}"),
        gateway_slot: slot,
        connection_id: user.wrapping_mul(1000) + u64::from(slot),
        login_at_ms: unix_ms(),
        last_seen_ms: unix_ms(),
        expires_at_ms: unix_ms() + 3_600_000,
    };
    SessionChange { kind: kind.into(), session: Some(session) }
}

pub(crate) fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64
}
