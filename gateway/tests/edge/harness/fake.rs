//! Logic's services with answers that a test prepares, and a record of what was asked.

use std::{
    collections::HashMap,
    fmt::Debug,
    sync::{Arc, Condvar, Mutex, PoisonError},
    time::Duration,
};

use gochat_infra::errors::{Code, Error};
use gochat_proto::{
    common::v1::{Head, Message},
    logic::v1::{
        self as wire,
        auth_service_server::{AuthService, AuthServiceServer},
        conversation_service_server::{ConversationService, ConversationServiceServer},
        revocation_service_server::{RevocationService, RevocationServiceServer},
        session_service_server::{SessionService, SessionServiceServer},
        user_service_server::{UserService, UserServiceServer},
    },
    repo::v1::{
        ConversationSummary, ConversationType, GroupMember, GroupRole, ListRevocationsRequest,
        ListRevocationsResponse, Revocation, SessionChange, session_change::Kind,
    },
};
use tokio::sync::Notify;
use tonic::{Request, Response, Status, service::Routes};

#[derive(Default)]
pub struct Fake {
    state: Mutex<State>,
    changed: Condvar,
    /// Wakes calls that wait for [`Fake::release`].
    released: Notify,
}

#[derive(Default)]
struct State {
    asked: Vec<String>,
    sessions: Vec<SessionChange>,
    heads: HashMap<String, u64>,
    messages: Vec<Message>,
    revocations: Vec<Revocation>,
    fail: HashMap<&'static str, Error>,
    held: bool,
}

/// What `get_heads` and pages tell.
pub const EPOCH: u64 = 7;

pub fn routes(fake: &Arc<Fake>) -> Routes {
    Routes::new(AuthServiceServer::from_arc(Arc::clone(fake)))
        .add_service(UserServiceServer::from_arc(Arc::clone(fake)))
        .add_service(ConversationServiceServer::from_arc(Arc::clone(fake)))
        .add_service(SessionServiceServer::from_arc(Arc::clone(fake)))
        .add_service(RevocationServiceServer::from_arc(Arc::clone(fake)))
}

impl Fake {
    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes a call, or `*` all calls, fail until it is told otherwise.
    pub fn fail(&self, call: &'static str, error: Error) {
        self.state().fail.insert(call, error);
    }

    pub fn work_again(&self) {
        self.state().fail.clear();
    }

    /// Keeps session reports, heads and log-ins from being answered.
    pub fn hold(&self) {
        self.state().held = true;
    }

    pub fn release(&self) {
        self.state().held = false;
        self.released.notify_waiters();
    }

    pub fn set_head(&self, conversation: &str, last_seq: u64) {
        self.state().heads.insert(conversation.into(), last_seq);
    }

    pub fn store(&self, message: Message) {
        let mut state = self.state();
        state.heads.insert(message.conversation_id.clone(), message.seq_id);
        state.messages.push(message);
    }

    /// Keeps a revocation, under the next id.
    pub fn revoke(&self, revocation: Revocation) {
        let mut state = self.state();
        let revocation_id = state.revocations.len() as u64 + 1;
        state.revocations.push(Revocation { revocation_id, ..revocation });
    }

    /// How often a call was made.
    pub fn calls(&self, call: &str) -> usize {
        self.state().asked.iter().filter(|asked| asked.starts_with(call)).count()
    }

    /// The last request of a call, as its Debug text.
    pub fn asked(&self, call: &str) -> String {
        let state = self.state();
        let found = state.asked.iter().rev().find(|asked| asked.starts_with(call));
        found.unwrap_or_else(|| panic!("{call} was not asked: {:?}", state.asked)).clone()
    }

    /// Waits until a session report of this kind was written for a user, and returns it.
    pub fn wait_for_session(&self, kind: Kind, user: u64) -> SessionChange {
        let is = |change: &&SessionChange| {
            change.kind() == kind && change.session.as_ref().is_some_and(|session| session.user_id == user)
        };
        let mut state = self.state();
        loop {
            if let Some(change) = state.sessions.iter().find(is) {
                return change.clone();
            }
            let (next, late) = self
                .changed
                .wait_timeout(state, Duration::from_secs(20))
                .unwrap_or_else(PoisonError::into_inner);
            assert!(!late.timed_out(), "no report of {kind:?} for {user}: {:?}", next.sessions);
            state = next;
        }
    }

    /// What was reported of a user, in order.
    pub fn sessions_of(&self, user: u64) -> Vec<Kind> {
        self.session_changes_of(user).into_iter().map(|(kind, _)| kind).collect()
    }

    /// The same with the connection that each report names.
    pub fn session_changes_of(&self, user: u64) -> Vec<(Kind, u64)> {
        let told = |change: &SessionChange| {
            let session = change.session.as_ref().filter(|session| session.user_id == user)?;
            Some((change.kind(), session.connection_id))
        };
        self.state().sessions.iter().filter_map(told).collect()
    }

    async fn pass(&self) {
        loop {
            let released = self.released.notified();
            if !self.state().held {
                return;
            }
            released.await;
        }
    }

    fn note(&self, call: &'static str, request: &impl Debug) -> Result<(), Status> {
        let mut state = self.state();
        state.asked.push(format!("{call} {request:?}"));
        match state.fail.get(call).or_else(|| state.fail.get("*")) {
            Some(error) => Err(error.clone().into()),
            None => Ok(()),
        }
    }
}

fn ok<T>(answer: T) -> Result<Response<T>, Status> {
    Ok(Response::new(answer))
}

fn tokens(user_id: u64, device: &str) -> wire::LoginResponse {
    wire::LoginResponse {
        user_id,
        device_id: device.into(),
        access_token: "access".into(),
        refresh_token: "refresh".into(),
        expires_in: 900,
    }
}

fn profile(user_id: u64) -> wire::Profile {
    wire::Profile {
        user_id,
        username: format!("user{user_id}"),
        display_name: format!("User \"{user_id}\""),
        avatar_url: "https://example/a.png".into(),
        email: format!("u{user_id}@example"),
        created_at_ms: 1_700_000_000_000,
    }
}

#[tonic::async_trait]
impl AuthService for Fake {
    async fn register(
        &self,
        r: Request<wire::RegisterRequest>,
    ) -> Result<Response<wire::RegisterResponse>, Status> {
        self.note("register", r.get_ref())?;
        ok(wire::RegisterResponse { user_id: u64::MAX })
    }
    async fn login(&self, r: Request<wire::LoginRequest>) -> Result<Response<wire::LoginResponse>, Status> {
        self.pass().await;
        self.note("login", r.get_ref())?;
        ok(tokens(5, "drawn"))
    }
    async fn refresh_token(
        &self,
        r: Request<wire::RefreshTokenRequest>,
    ) -> Result<Response<wire::LoginResponse>, Status> {
        self.note("refresh_token", r.get_ref())?;
        ok(tokens(5, "kept"))
    }
    async fn logout(&self, r: Request<wire::LogoutRequest>) -> Result<Response<()>, Status> {
        self.note("logout", r.get_ref())?;
        ok(())
    }
    async fn change_password(&self, r: Request<wire::ChangePasswordRequest>) -> Result<Response<()>, Status> {
        self.note("change_password", r.get_ref())?;
        ok(())
    }
}

#[tonic::async_trait]
impl UserService for Fake {
    async fn get_me(&self, r: Request<wire::GetMeRequest>) -> Result<Response<wire::Profile>, Status> {
        self.note("get_me", r.get_ref())?;
        ok(profile(r.get_ref().user_id))
    }
    async fn update_me(&self, r: Request<wire::UpdateMeRequest>) -> Result<Response<wire::Profile>, Status> {
        self.note("update_me", r.get_ref())?;
        ok(profile(r.get_ref().user_id))
    }
    async fn find_user(&self, r: Request<wire::FindUserRequest>) -> Result<Response<wire::Profile>, Status> {
        self.note("find_user", r.get_ref())?;
        if r.get_ref().username == "nobody" {
            return Err(Error::new(Code::UserNotFound, "no such user").into());
        }
        ok(profile(9))
    }
    async fn get_profiles(
        &self,
        r: Request<wire::GetProfilesRequest>,
    ) -> Result<Response<wire::GetProfilesResponse>, Status> {
        self.note("get_profiles", r.get_ref())?;
        let profiles = r.get_ref().user_ids.iter().map(|id| profile(*id)).collect();
        ok(wire::GetProfilesResponse { profiles })
    }
}

#[tonic::async_trait]
impl ConversationService for Fake {
    async fn get_conversations(
        &self,
        r: Request<wire::GetConversationsRequest>,
    ) -> Result<Response<wire::GetConversationsResponse>, Status> {
        self.note("get_conversations", r.get_ref())?;
        let summary = |id: &str, kind: ConversationType, last_message| ConversationSummary {
            conversation_id: id.into(),
            r#type: kind.into(),
            name: "A name".into(),
            last_message,
            last_seq: 4,
            read_seq: 3,
            unread_count: 1,
            updated_at_ms: 1_700_000_000_000,
            ..ConversationSummary::default()
        };
        let last = super::message("group_7", 2, 4);
        let left = summary("group_7", ConversationType::Group, Some(last));
        let read = summary("single_1_5", ConversationType::Single, None);
        let conversations = vec![
            ConversationSummary { left: true, ..left },
            ConversationSummary { peer_read_seq: Some(2), ..read },
            summary("world", ConversationType::World, None),
        ];
        ok(wire::GetConversationsResponse { conversations, next_cursor: "next".into() })
    }
    async fn get_conversation_messages(
        &self,
        r: Request<wire::GetConversationMessagesRequest>,
    ) -> Result<Response<wire::GetConversationMessagesResponse>, Status> {
        self.note("get_conversation_messages", r.get_ref())?;
        let asked = r.get_ref();
        let after = asked.after_seq.unwrap_or(0);
        let state = self.state();
        let mut found: Vec<Message> = state
            .messages
            .iter()
            .filter(|m| m.conversation_id == asked.conversation_id && m.seq_id > after)
            .cloned()
            .collect();
        let has_more = found.len() > asked.limit as usize;
        found.truncate(asked.limit as usize);
        ok(wire::GetConversationMessagesResponse { messages: found, has_more, epoch: EPOCH })
    }
    async fn mark_as_read(
        &self,
        r: Request<wire::MarkAsReadRequest>,
    ) -> Result<Response<wire::MarkAsReadResponse>, Status> {
        self.note("mark_as_read", r.get_ref())?;
        ok(wire::MarkAsReadResponse { read_seq: r.get_ref().seq_id })
    }
    async fn create_group(
        &self,
        r: Request<wire::CreateGroupRequest>,
    ) -> Result<Response<wire::CreateGroupResponse>, Status> {
        self.note("create_group", r.get_ref())?;
        ok(wire::CreateGroupResponse { group_id: 7, conversation_id: "group_7".into() })
    }
    async fn get_group_members(
        &self,
        r: Request<wire::GetGroupMembersRequest>,
    ) -> Result<Response<wire::GetGroupMembersResponse>, Status> {
        self.note("get_group_members", r.get_ref())?;
        let member = |user_id, role: GroupRole| GroupMember {
            user_id,
            role: role.into(),
            joined_seq: 0,
            joined_at_ms: 1_700_000_000_000,
            username: format!("user{user_id}"),
            display_name: "User".into(),
        };
        let members = vec![member(1, GroupRole::Owner), member(2, GroupRole::Member)];
        ok(wire::GetGroupMembersResponse { members, next_cursor: String::new() })
    }
    async fn add_group_members(
        &self,
        r: Request<wire::AddGroupMembersRequest>,
    ) -> Result<Response<()>, Status> {
        self.note("add_group_members", r.get_ref())?;
        ok(())
    }
    async fn remove_group_member(
        &self,
        r: Request<wire::RemoveGroupMemberRequest>,
    ) -> Result<Response<()>, Status> {
        self.note("remove_group_member", r.get_ref())?;
        ok(())
    }
    async fn get_heads(
        &self,
        r: Request<wire::GetHeadsRequest>,
    ) -> Result<Response<wire::GetHeadsResponse>, Status> {
        self.pass().await;
        self.note("get_heads", r.get_ref())?;
        let known: HashMap<&str, u64> =
            r.get_ref().known.iter().map(|head| (head.conversation_id.as_str(), head.last_seq)).collect();
        let state = self.state();
        let differs = |(id, seq): &(&String, &u64)| known.get(id.as_str()) != Some(*seq);
        let mut changed: Vec<Head> = state
            .heads
            .iter()
            .filter(differs)
            .map(|(id, seq)| Head { conversation_id: id.clone(), last_seq: *seq })
            .collect();
        changed.sort_by(|a, b| a.conversation_id.cmp(&b.conversation_id));
        ok(wire::GetHeadsResponse { changed, epoch: EPOCH })
    }
}

#[tonic::async_trait]
impl SessionService for Fake {
    async fn report_sessions(&self, r: Request<wire::ReportSessionsRequest>) -> Result<Response<()>, Status> {
        self.pass().await;
        self.note("report_sessions", r.get_ref())?;
        self.state().sessions.extend(r.into_inner().changes);
        self.changed.notify_all();
        ok(())
    }
}

#[tonic::async_trait]
impl RevocationService for Fake {
    async fn list_revocations(
        &self,
        r: Request<ListRevocationsRequest>,
    ) -> Result<Response<ListRevocationsResponse>, Status> {
        self.note("list_revocations", r.get_ref())?;
        let asked = r.get_ref();
        let state = self.state();
        let mut found: Vec<Revocation> = state
            .revocations
            .iter()
            .filter(|row| row.revocation_id > asked.after_revocation_id && row.expires_at_ms > asked.now_ms)
            .cloned()
            .collect();
        let has_more = found.len() > asked.limit as usize;
        found.truncate(asked.limit as usize);
        ok(ListRevocationsResponse { revocations: found, has_more })
    }
}
