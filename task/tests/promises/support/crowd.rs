//! One large group on the real store, queue and task service, and beside it what must not feel its messages: a small
//! group's tasks, and a sender whose messages are saved.
// The tests look at the deliveries only, the example at the figures too.
#![allow(dead_code)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use gochat_infra::cache::{Cache, MemoryCache, MemoryCacheConfig};
use gochat_infra::mq::{EmbeddedConfig, Outgoing, Queue, Tail, TailEvent, Target, TopicConfig};
use gochat_infra::registry::{Instance, Registry};
use gochat_infra::rpc::Client;
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::Metrics;
use gochat_proto::common::v1::{Message as Stored, MessageType, Session};
use gochat_proto::queue::v1::downstream::Body as Down;
use gochat_proto::queue::v1::task::Body;
use gochat_proto::queue::v1::{Downstream, FanOutGroup, Task as Wire};
use gochat_proto::repo::v1::group_repo_client::GroupRepoClient;
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::session_change::Kind;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::{
    AddGroupMemberRequest, ConversationBatch, CreateGroupRequest, CreateUsersRequest, Group, GroupType,
    SaveMessagesRequest, SaveOutcome, SessionChange, SetUserSessionRequest, User, UserStatus,
};
use gochat_proto::topics;
use gochat_repo::{Repo, RepoConfig, RepoDeps};
use gochat_task::{Task, TaskConfig, TaskDeps};
use prost::Message;

/// The large group, and the small one that goes on beside it.
const LARGE: u64 = 1;
const SMALL: u64 = 2;
const SMALL_MEMBERS: u64 = 10;
/// Members, users and sessions handed to the store at once.
const CHUNK: u64 = 5_000;
/// Only ends a run that would hang.
const PATIENCE: Duration = Duration::from_secs(600);

/// How large.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Crowd {
    pub(crate) members: u64,
    /// Of them; spread evenly.
    pub(crate) online: u64,
    pub(crate) gateways: u32,
    /// Messages of the large group, put on the queue at once; twice.
    pub(crate) messages: u64,
}

/// How the large group's messages went out.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Sent {
    /// From the first task on the queue until the last member online has the last message.
    pub(crate) took: Duration,
    /// Of the whole process, the gateways' decoding among it; NaN where the system doesn't tell.
    pub(crate) cpu_seconds: f64,
}

/// What was seen.
#[derive(Debug)]
pub(crate) struct Report {
    /// The messages with nothing beside them, and then as many more with the rest going on.
    pub(crate) alone: Sent,
    pub(crate) beside: Sent,
    /// Records to gateways for all of these: pages times gateways.
    pub(crate) records: u64,
    /// Of the small group's tasks, from the queue to the gateway: before and during the large ones.
    pub(crate) small: (Vec<Duration>, Vec<Duration>),
    /// Of saves of a sender's messages, before and during.
    pub(crate) saves: (Vec<Duration>, Vec<Duration>),
}

/// All of it, running.
pub(crate) struct House {
    crowd: Crowd,
    client: Client,
    queue: Queue,
    metrics: Metrics,
    task: Task,
    shutdown: Shutdown,
    repo: Repo,
}

fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}

fn gateway(slot: u32) -> String {
    format!("gw-{slot}")
}

/// Members online stand evenly among the others, and go round the gateways.
fn slot_of(user_id: u64, crowd: Crowd) -> Option<u32> {
    let rank = |user_id: u64| user_id * crowd.online / crowd.members;
    let is_online = rank(user_id) > rank(user_id - 1);
    is_online.then(|| (rank(user_id) % u64::from(crowd.gateways)) as u32)
}

impl House {
    /// Sends the messages, alone and with the rest beside them, and checks that every member online got each once and
    /// in order.
    pub(crate) async fn run(self) -> Report {
        let crowd = self.crowd;
        let (large, small) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let over = Arc::new(AtomicBool::new(false));
        let readers: Vec<_> = (0..crowd.gateways)
            .map(|slot| {
                let tail = self.queue.tail(topics::DOWNSTREAM, slot).expect("a gateway's partition");
                tokio::spawn(read(tail, slot, large.clone(), small.clone(), over.clone()))
            })
            .collect();
        let alone = self.deliver(1, &large).await;
        let beside = Beside::default();
        let tasks = tokio::spawn(small_tasks(self.queue.clone(), small, beside.clone()));
        let saves = tokio::spawn(saves(self.client.clone(), beside.clone()));
        beside.warm_up().await;
        beside.during.store(true, Ordering::Release);
        let sent = self.deliver(crowd.messages + 1, &large).await;
        beside.stop.store(true, Ordering::Release);
        let small = tasks.await.expect("the small group's tasks");
        let saves = saves.await.expect("the saves");
        over.store(true, Ordering::Release);
        let mut records = 0;
        for (slot, reader) in (0..).zip(readers) {
            let told = reader.await.expect("a gateway's reader");
            records += told.len() as u64;
            check(slot, &told, crowd);
        }
        self.shutdown.trigger();
        self.task.join().await;
        self.queue.close();
        self.repo.close().await;
        Report { alone, beside: sent, records, small, saves }
    }

    /// Puts the messages from this number on onto the queue and waits until all have them.
    async fn deliver(&self, first_seq: u64, arrived: &AtomicU64) -> Sent {
        let last_seq = first_seq + self.crowd.messages - 1;
        let expected = self.crowd.online * last_seq;
        let (begun, cpu) = (Instant::now(), self.cpu_seconds());
        for seq_id in first_seq..=last_seq {
            self.send(fan_out(LARGE, seq_id)).await;
        }
        while arrived.load(Ordering::Acquire) < expected {
            assert!(begun.elapsed() < PATIENCE, "{} of {expected}", arrived.load(Ordering::Acquire));
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        Sent { took: begun.elapsed(), cpu_seconds: self.cpu_seconds() - cpu }
    }

    fn cpu_seconds(&self) -> f64 {
        let text = self.metrics.encode();
        let line = text.lines().find_map(|line| line.strip_prefix("process_cpu_seconds_total "));
        line.and_then(|value| value.parse().ok()).unwrap_or(f64::NAN)
    }
}

/// Each member online at this gateway has every message once, in order.
fn check(slot: u32, told: &[(u64, Vec<u64>)], crowd: Crowd) {
    let mut last = vec![0; crowd.members as usize + 1];
    for (seq_id, users) in told {
        for user_id in users {
            let before = std::mem::replace(&mut last[*user_id as usize], *seq_id);
            assert_eq!(before + 1, *seq_id, "user {user_id} at gateway {slot}");
        }
    }
    for user_id in 1..=crowd.members {
        let expected = if slot_of(user_id, crowd) == Some(slot) { 2 * crowd.messages } else { 0 };
        assert_eq!(last[user_id as usize], expected, "user {user_id} at gateway {slot}");
    }
}

/// What a gateway gets of the large group, until it is over.
async fn read(
    mut tail: Tail,
    slot: u32,
    large: Arc<AtomicU64>,
    small: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
) -> Vec<(u64, Vec<u64>)> {
    let mut told = Vec::new();
    loop {
        let records = match tokio::time::timeout(Duration::from_millis(20), tail.next()).await {
            Err(_) if over.load(Ordering::Acquire) => return told,
            Err(_) => continue,
            Ok(TailEvent::Records(records)) => records,
            Ok(TailEvent::Lost(count)) => panic!("gateway {slot} lost {count} records"),
        };
        for record in records {
            let record = Downstream::decode(record.value).expect("a record for a gateway");
            assert_eq!(record.gateway_instance, gateway(slot));
            let Some(Down::Message(delivery)) = record.body else { panic!("not a message") };
            let message = delivery.message.expect("a message");
            if message.conversation_id == conversation(SMALL) {
                small.fetch_max(message.seq_id, Ordering::AcqRel);
                continue;
            }
            large.fetch_add(delivery.user_ids.len() as u64, Ordering::AcqRel);
            told.push((message.seq_id, delivery.user_ids));
        }
    }
}

/// What goes on beside the large group: measured before and during its messages.
#[derive(Clone, Default)]
struct Beside {
    during: Arc<AtomicBool>,
    stop: Arc<AtomicBool>,
    /// Pieces of work done.
    count: Arc<AtomicU64>,
}

impl Beside {
    /// Waits until there is something to compare with.
    async fn warm_up(&self) {
        let begun = Instant::now();
        while self.count.load(Ordering::Acquire) < 200 {
            assert!(begun.elapsed() < PATIENCE, "nothing goes on beside the large group");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    /// Notes how long a piece of work took; true when it was the last one. At least one falls into the time of the large
    /// messages.
    fn note(&self, piece: Piece, times: &mut (Vec<Duration>, Vec<Duration>)) -> bool {
        let list = if piece.is_during { &mut times.1 } else { &mut times.0 };
        list.push(piece.begun.elapsed());
        self.count.fetch_add(1, Ordering::AcqRel);
        piece.is_during && self.stop.load(Ordering::Acquire)
    }

    fn begin(&self) -> Piece {
        Piece { begun: Instant::now(), is_during: self.during.load(Ordering::Acquire) }
    }
}

/// Work under way.
struct Piece {
    begun: Instant,
    is_during: bool,
}

/// One piece of work at a time, so often.
const PACE: Duration = Duration::from_millis(2);

async fn small_tasks(
    queue: Queue,
    arrived: Arc<AtomicU64>,
    beside: Beside,
) -> (Vec<Duration>, Vec<Duration>) {
    let (producer, mut times) = (queue.producer(), Default::default());
    for seq_id in 1.. {
        let piece = beside.begin();
        producer.send_wait(fan_out(SMALL, seq_id)).await.expect("the queue takes a task");
        while arrived.load(Ordering::Acquire) < seq_id {
            assert!(piece.begun.elapsed() < PATIENCE, "a small group's message {seq_id}");
            tokio::task::yield_now().await;
        }
        if beside.note(piece, &mut times) {
            break;
        }
        tokio::time::sleep(PACE).await;
    }
    times
}

async fn saves(client: Client, beside: Beside) -> (Vec<Duration>, Vec<Duration>) {
    let (mut messages, mut times) = (MessageRepoClient::new(client), Default::default());
    for seq_id in 1.. {
        let piece = beside.begin();
        let message = Stored { conversation_id: "single_1_2".into(), ..stored(3, seq_id) };
        let batch = ConversationBatch {
            conversation_id: "single_1_2".into(),
            expected_last_seq: seq_id - 1,
            group_version: None,
            messages: vec![message],
        };
        let saved = messages.save_messages(SaveMessagesRequest { conversations: vec![batch] }).await;
        assert_eq!(saved.expect("a save").into_inner().outcomes, [SaveOutcome::Saved as i32]);
        if beside.note(piece, &mut times) {
            break;
        }
        tokio::time::sleep(PACE).await;
    }
    times
}

fn conversation(group_id: u64) -> String {
    format!("group_{group_id}")
}

fn stored(group_id: u64, seq_id: u64) -> Stored {
    Stored {
        message_id: group_id * 1_000_000 + seq_id,
        conversation_id: conversation(group_id),
        sender_id: 1,
        content: format!("message {seq_id}"),
        message_type: MessageType::Text.into(),
        seq_id,
        client_msg_id: format!("c{seq_id}"),
        created_at_ms: unix_ms(),
    }
}

fn fan_out(group_id: u64, seq_id: u64) -> Outgoing {
    let message = stored(group_id, seq_id);
    let task_id = format!("fanout-{}", message.message_id);
    let body = Some(Body::FanOutGroup(FanOutGroup { message: Some(message), group_id }));
    let value = Wire { task_id, created_at_ms: unix_ms(), body }.encode_to_vec().into();
    Outgoing { topic: topics::TASKS, target: Target::ByKey, key: conversation(group_id).into(), value }
}

impl House {
    /// Builds all in `dir`.
    pub(crate) async fn open(dir: &Path, crowd: Crowd, config: TaskConfig) -> House {
        assert!(crowd.online * SMALL_MEMBERS >= crowd.members, "nobody of the small group would be online");
        let metrics = Metrics::new();
        let mut repo = RepoConfig::default();
        repo.sqlite.file = dir.join("gochat.db");
        let cache = Cache::Memory(MemoryCache::new(&MemoryCacheConfig::default()));
        let repo = Repo::open(repo, RepoDeps { sessions: cache.clone(), cache, metrics: metrics.clone() });
        let repo = repo.await.expect("the store opens");
        let queue = Queue::open_embedded(EmbeddedConfig {
            dir: dir.join("queue"),
            topics: vec![
                // One, so that all lanes share it.
                TopicConfig::durable(topics::TASKS, 1),
                TopicConfig::kept(topics::DEAD_LETTER, 1, 1 << 40, 1 << 30),
                TopicConfig::memory(topics::DOWNSTREAM, crowd.gateways),
            ],
            ..EmbeddedConfig::default()
        })
        .expect("the queue opens");
        let gateways = (0..crowd.gateways).map(|slot| Instance {
            service: topics::SERVICE_GATEWAY.into(),
            instance_id: gateway(slot),
            slot,
            address: String::new(),
        });
        let shutdown = Shutdown::new();
        let client = Client::local(repo.routes());
        let deps = TaskDeps {
            repo: client.clone(),
            queue: queue.clone(),
            registry: Registry::fixed(gateways.collect()),
            metrics: metrics.clone(),
            shutdown: shutdown.clone(),
        };
        let task = Task::start(config, deps).await.expect("the service starts");
        let house = House { crowd, client, queue, metrics, task, shutdown, repo };
        house.make_group(SMALL, SMALL_MEMBERS).await;
        house.make_group(LARGE, crowd.members).await;
        house
    }

    async fn send(&self, task: Outgoing) {
        self.queue.producer().send_wait(task).await.expect("the queue takes a task");
    }

    /// Makes the users too; those of the small group are there already when the large one is made.
    async fn make_group(&self, group_id: u64, members: u64) {
        let mut users = UserRepoClient::new(self.client.clone());
        let mut groups = GroupRepoClient::new(self.client.clone());
        let group = Group {
            group_id,
            group_name: "many".into(),
            owner_id: 1,
            max_members: members as u32,
            group_type: GroupType::Private.into(),
            ..Group::default()
        };
        for first in (1..=members).step_by(CHUNK as usize) {
            let chunk = first..=(first + CHUNK - 1).min(members);
            let new = chunk.clone().filter(|id| group_id == SMALL || *id > SMALL_MEMBERS).map(user).collect();
            users.create_users(CreateUsersRequest { users: new }).await.expect("users");
            let member_ids: Vec<u64> = chunk.clone().collect();
            if first == 1 {
                let request = CreateGroupRequest { group: Some(group.clone()), member_ids };
                groups.create_group(request).await.expect("a group");
            } else {
                let request = AddGroupMemberRequest { group_id, user_ids: member_ids };
                groups.add_group_member(request).await.expect("members");
            }
            let changes: Vec<SessionChange> =
                chunk.filter_map(|user_id| session(user_id, self.crowd)).collect();
            if !changes.is_empty() {
                users.set_user_session(SetUserSessionRequest { changes }).await.expect("sessions");
            }
        }
    }
}

pub(crate) fn user(user_id: u64) -> User {
    User {
        user_id,
        username: format!("user{user_id}"),
        email: format!("user{user_id}@example.org"),
        password_hash: "none".into(),
        display_name: "Somebody".into(),
        status: UserStatus::Active.into(),
        ..User::default()
    }
}

fn session(user_id: u64, crowd: Crowd) -> Option<SessionChange> {
    let slot = slot_of(user_id, crowd)?;
    let session = Session {
        user_id,
        device_id: "phone".into(),
        gateway_instance: gateway(slot),
        gateway_slot: slot,
        connection_id: user_id,
        login_at_ms: unix_ms(),
        last_seen_ms: unix_ms(),
        expires_at_ms: unix_ms() + 3_600_000,
    };
    Some(SessionChange { kind: Kind::Set.into(), session: Some(session) })
}
