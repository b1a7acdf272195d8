//! What every store promises, asked through the gRPC face with a cache beside it. The tests name no dialect:
//! a second store runs them all by another `open`.
#![allow(clippy::large_futures, reason = "the lint guards memory per connection; a test has one")]

mod cache;
mod conversations;
mod copies;
mod durability;
mod groups;
mod limits;
mod pages;
mod revocations;
mod saves;
mod tasks;
mod tokens;
mod users;

use gochat_infra::cache::{Cache, MemoryCache, MemoryCacheConfig};
use gochat_infra::errors::{Code, Error};
use gochat_infra::rpc::Client;
use gochat_infra::telemetry::Metrics;
use gochat_proto::common::v1::{Message, MessageType, Session};
use gochat_proto::repo::v1::conversation_repo_client::ConversationRepoClient;
use gochat_proto::repo::v1::group_repo_client::GroupRepoClient;
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::*;

use crate::store::message_key::{KeyHash, key_hash};
use crate::{LimitsConfig, Repo, RepoConfig, RepoDeps, SqliteConfig};

/// A repository of its own for one test, with users 1 to `USERS`.
struct Bench {
    repo: Repo,
    memory: MemoryCache,
    sessions: MemoryCache,
    users: UserRepoClient<Client>,
    messages: MessageRepoClient<Client>,
    groups: GroupRepoClient<Client>,
    conversations: ConversationRepoClient<Client>,
    /// For the services that only a few tests call.
    client: Client,
    folder: tempfile::TempDir,
}

const USERS: u64 = 9;
const GROUPS_PER_USER_MAX: u32 = 4;
/// The moment at which the tests' users and messages are made.
const T0: i64 = 1_700_000_000_000;

fn config(folder: &tempfile::TempDir) -> RepoConfig {
    RepoConfig {
        sqlite: SqliteConfig { file: folder.path().join("deep/gochat.db"), readers: 2, ..Default::default() },
        limits: LimitsConfig {
            group_members_max: 8,
            groups_per_user_max: GROUPS_PER_USER_MAX,
            page_max: 100,
            ..Default::default()
        },
        ..Default::default()
    }
}

/// Caches and counters of its own.
fn deps() -> RepoDeps {
    let cache = || Cache::Memory(MemoryCache::new(&MemoryCacheConfig::default()));
    RepoDeps { cache: cache(), sessions: cache(), metrics: Metrics::new() }
}

async fn open() -> Bench {
    open_with(key_hash).await
}

async fn open_with(key_hash: KeyHash) -> Bench {
    let bench = open_in(tempfile::tempdir().unwrap(), key_hash).await;
    let users = (1..=USERS).map(user).collect();
    bench.users.clone().create_users(CreateUsersRequest { users }).await.unwrap();
    bench
}

async fn open_in(folder: tempfile::TempDir, key_hash: KeyHash) -> Bench {
    let config = config(&folder);
    open_configured(folder, config, key_hash).await
}

async fn open_configured(folder: tempfile::TempDir, config: RepoConfig, key_hash: KeyHash) -> Bench {
    open_cached(folder, config, &MemoryCacheConfig::default(), key_hash).await
}

async fn open_cached(
    folder: tempfile::TempDir,
    config: RepoConfig,
    cache: &MemoryCacheConfig,
    key_hash: KeyHash,
) -> Bench {
    let memory = MemoryCache::new(cache);
    let sessions = MemoryCache::new(&MemoryCacheConfig::default());
    let deps = RepoDeps {
        cache: Cache::Memory(memory.clone()),
        sessions: Cache::Memory(sessions.clone()),
        metrics: Metrics::new(),
    };
    let repo = Repo::open_with(config, deps, key_hash).await.unwrap();
    let client = Client::local(repo.routes());
    Bench {
        repo,
        memory,
        sessions,
        users: UserRepoClient::new(client.clone()),
        messages: MessageRepoClient::new(client.clone()),
        groups: GroupRepoClient::new(client.clone()),
        conversations: ConversationRepoClient::new(client.clone()),
        client,
        folder,
    }
}

fn user(id: u64) -> User {
    User {
        user_id: id,
        username: format!("User{id}"),
        email: format!("User{id}@example.org"),
        password_hash: format!("hash{id}"),
        display_name: format!("Number {id}"),
        created_at_ms: T0,
        ..Default::default()
    }
}

/// The message with this seq; its id and client id follow from the conversation's and the seq.
fn message(conversation_id: &str, sender_id: u64, seq_id: u64) -> Message {
    let place: u64 = conversation_id.bytes().map(u64::from).sum();
    Message {
        message_id: place * 1_000_000 + seq_id,
        conversation_id: conversation_id.to_owned(),
        sender_id,
        content: format!("{seq_id} in {conversation_id}"),
        message_type: MessageType::Text.into(),
        seq_id,
        client_msg_id: format!("c-{seq_id}"),
        created_at_ms: T0 + seq_id as i64,
    }
}

/// `count` messages after `last`, all of one sender.
fn batch(conversation_id: &str, sender_id: u64, last: u64, count: u64) -> ConversationBatch {
    ConversationBatch {
        conversation_id: conversation_id.to_owned(),
        expected_last_seq: last,
        group_version: None,
        messages: (last + 1..=last + count).map(|seq| message(conversation_id, sender_id, seq)).collect(),
    }
}

fn session(user_id: u64, device: &str, connection_id: u64) -> Session {
    Session {
        user_id,
        device_id: device.to_owned(),
        gateway_instance: "g1".to_owned(),
        gateway_slot: 3,
        connection_id,
        expires_at_ms: i64::MAX,
        ..Default::default()
    }
}

/// The code of a call that must fail.
fn code<T: std::fmt::Debug>(answer: Result<tonic::Response<T>, tonic::Status>) -> Code {
    Error::from(answer.expect_err("the call should fail")).code
}

impl Bench {
    async fn save(&self, batches: Vec<ConversationBatch>) -> Vec<SaveOutcome> {
        let request = SaveMessagesRequest { conversations: batches };
        let answer = self.messages.clone().save_messages(request).await.unwrap().into_inner();
        answer.outcomes().collect()
    }

    /// Saves one batch that must pass.
    async fn saved(&self, batch: ConversationBatch) {
        assert_eq!(self.save(vec![batch]).await, [SaveOutcome::Saved]);
    }

    async fn state(&self, conversation_id: &str) -> ConversationState {
        let request = GetConversationStatesRequest { conversation_ids: vec![conversation_id.to_owned()] };
        let answer = self.conversations.clone().get_conversation_states(request).await.unwrap();
        answer.into_inner().states.remove(0)
    }

    async fn page(&self, request: GetConversationMessagesRequest) -> (Vec<u64>, bool) {
        let answer = self.messages.clone().get_conversation_messages(request).await.unwrap().into_inner();
        (answer.messages.iter().map(|message| message.seq_id).collect(), answer.has_more)
    }

    async fn seqs(&self, conversation_id: &str) -> Vec<u64> {
        self.page_after(conversation_id, 0).await
    }

    async fn page_after(&self, conversation_id: &str, seq: u64) -> Vec<u64> {
        let request = GetConversationMessagesRequest {
            conversation_id: conversation_id.to_owned(),
            after_seq: Some(seq),
            limit: 100,
            ..Default::default()
        };
        self.page(request).await.0
    }

    async fn find(&self, messages: &[Message]) -> Vec<Message> {
        let key = |message: &Message| ClientKey {
            conversation_id: message.conversation_id.clone(),
            sender_id: message.sender_id,
            client_msg_id: message.client_msg_id.clone(),
        };
        let request = FindMessagesRequest { keys: messages.iter().map(key).collect() };
        self.messages.clone().find_messages(request).await.unwrap().into_inner().messages
    }

    async fn list(&self, user_id: u64) -> Vec<ConversationSummary> {
        let request = GetUserConversationsRequest { user_id, ..Default::default() };
        self.conversations.clone().get_user_conversations(request).await.unwrap().into_inner().conversations
    }

    /// A user's entry for one conversation.
    async fn entry(&self, user_id: u64, conversation_id: &str) -> ConversationSummary {
        let mut list = self.list(user_id).await;
        list.retain(|entry| entry.conversation_id == conversation_id);
        list.pop().unwrap()
    }

    async fn group(&self, group_id: u64, owner_id: u64, member_ids: &[u64]) -> Group {
        let group = Group {
            group_id,
            owner_id,
            group_name: format!("Group {group_id}"),
            max_members: 5,
            created_at_ms: T0,
            ..Default::default()
        };
        let request = CreateGroupRequest { group: Some(group), member_ids: member_ids.to_vec() };
        self.groups.clone().create_group(request).await.unwrap().into_inner().group.unwrap()
    }

    async fn add(&self, group_id: u64, user_ids: &[u64]) -> AddGroupMemberResponse {
        let request = AddGroupMemberRequest { group_id, user_ids: user_ids.to_vec() };
        self.groups.clone().add_group_member(request).await.unwrap().into_inner()
    }

    async fn remove(&self, group_id: u64, user_id: u64) -> RemoveGroupMemberResponse {
        let request = RemoveGroupMemberRequest { group_id, user_id };
        self.groups.clone().remove_group_member(request).await.unwrap().into_inner()
    }

    async fn membership(&self, conversation_id: &str, user_id: u64) -> GetMembershipResponse {
        let request = GetMembershipRequest { conversation_id: conversation_id.to_owned(), user_id };
        self.conversations.clone().get_membership(request).await.unwrap().into_inner()
    }

    async fn mark(&self, conversation_id: &str, user_id: u64, seq_id: u64) -> MarkReadResponse {
        let request = MarkReadRequest { conversation_id: conversation_id.to_owned(), user_id, seq_id };
        self.conversations.clone().mark_read(request).await.unwrap().into_inner()
    }

    async fn change_sessions(&self, kind: session_change::Kind, sessions: &[Session]) {
        let change = |session: &Session| SessionChange { kind: kind.into(), session: Some(session.clone()) };
        let request = SetUserSessionRequest { changes: sessions.iter().map(change).collect() };
        self.users.clone().set_user_session(request).await.unwrap();
    }

    async fn sessions(&self, user_ids: &[u64]) -> Vec<Session> {
        let request = GetUserSessionsRequest { user_ids: user_ids.to_vec() };
        let answer = self.users.clone().get_user_sessions(request).await.unwrap();
        answer.into_inner().sessions
    }

    /// A user as GetUser answers him.
    async fn user(&self, user_id: u64) -> User {
        let request = GetUserRequest { user_id, with_password_hash: false };
        self.users.clone().get_user(request).await.unwrap().into_inner().user.unwrap()
    }
}
