//! Users and sessions.
use gochat_proto::common::v1::Session;
use gochat_proto::repo::v1::session_change::Kind;
use gochat_proto::repo::v1::{
    CreateUserRequest, CreateUserResponse, CreateUsersRequest, GetUserByUsernameRequest, GetUserRequest,
    GetUserResponse, GetUserSessionRequest, GetUserSessionResponse, GetUserSessionsRequest, GetUsersRequest,
    GetUsersResponse, SetUserSessionRequest, UpdateUserRequest, User, UserStatus,
};

use super::{Service, Shared, check};
use crate::store::{Result, VersionedUser, refuse, unix_ms};

impl Service {
    pub(crate) async fn create_user(&self, request: CreateUserRequest) -> Result<CreateUserResponse> {
        let user = ready_to_store(request.user.unwrap_or_default())?;
        self.store.create_users(vec![user.clone()]).await?;
        Ok(CreateUserResponse { user: Some(User { password_hash: String::new(), ..user }) })
    }

    pub(crate) async fn create_users(&self, request: CreateUsersRequest) -> Result<()> {
        check::length(request.users.len(), self.limits.create_users_max, "users")?;
        let users: Result<Vec<User>> = request.users.into_iter().map(ready_to_store).collect();
        self.store.create_users(users?).await
    }

    pub(crate) async fn get_user(&self, request: GetUserRequest) -> Result<GetUserResponse> {
        let id = request.user_id;
        let user = match request.with_password_hash {
            true => self.store.users(&[id]).await?.pop().map(|found| found.user),
            false => self.users(&[id]).await?.pop(),
        };
        Ok(GetUserResponse { user: Some(user.ok_or_else(|| refuse::unknown_users(&[id]))?) })
    }

    pub(crate) async fn get_users(&self, request: GetUsersRequest) -> Result<GetUsersResponse> {
        check::length(request.user_ids.len(), self.limits.lookup_max, "users")?;
        Ok(GetUsersResponse { users: self.users(&request.user_ids).await? })
    }

    pub(crate) async fn get_user_by_username(
        &self,
        request: GetUserByUsernameRequest,
    ) -> Result<GetUserResponse> {
        let found = self.store.user_by_name(&request.username).await?;
        Ok(GetUserResponse { user: Some(found.ok_or_else(refuse::unknown_username)?.user) })
    }

    /// Goes on in a task of its own when the caller gives up: a row that was updated while its copy stayed
    /// would be read wrong for as long as the copy lives.
    pub(crate) async fn update_user(self: &Shared, request: UpdateUserRequest) -> Result<()> {
        let user_id = request.user_id;
        refuse::id(user_id, "a user id")?;
        if request.email.as_deref().is_some_and(|email| !email.contains('@')) {
            return Err(refuse::invalid("an e-mail address has an @"));
        }
        let service = self.clone();
        let update = tokio::spawn(async move {
            let written = service.store.update_user(request, unix_ms()).await;
            // Also after a failure: the outcome of a commit that failed is not certain.
            service.caches.forget_user(user_id).await;
            written
        });
        update.await.map_err(|_| refuse::broken("the update of a user was broken off"))?
    }

    /// Users without their password hashes, from the cache where it has them.
    async fn users(&self, ids: &[u64]) -> Result<Vec<User>> {
        let cached = self.caches.users(ids).await;
        let missing: Vec<u64> =
            ids.iter().zip(&cached).filter(|(_, user)| user.is_none()).map(|(id, _)| *id).collect();
        let mut users: Vec<User> = cached.into_iter().flatten().collect();
        if !missing.is_empty() {
            let read = self.store.users(&missing).await?;
            self.keep_users(&read).await;
            users.extend(read.into_iter().map(|VersionedUser { mut user, .. }| {
                user.password_hash.clear();
                user
            }));
        }
        Ok(users)
    }

    /// Puts users into the cache, and takes out again those that were updated after they were read.
    pub(crate) async fn keep_users(&self, users: &[VersionedUser]) {
        let mut kept = Vec::with_capacity(users.len());
        for user in users {
            if self.caches.keep_user(user).await {
                kept.push(user);
            }
        }
        if kept.is_empty() {
            return;
        }
        let ids: Vec<u64> = kept.iter().map(|kept| kept.user.user_id).collect();
        // When the versions can't be read, nothing that was just put in can be believed.
        let versions = self.store.user_versions(&ids).await.unwrap_or_default();
        let versions: std::collections::HashMap<u64, u64> = versions.into_iter().collect();
        for VersionedUser { user, version } in kept {
            if versions.get(&user.user_id) != Some(version) {
                self.caches.forget_user(user.user_id).await;
            }
        }
    }

    pub(crate) async fn get_user_session(
        &self,
        request: GetUserSessionRequest,
    ) -> Result<GetUserSessionResponse> {
        Ok(GetUserSessionResponse { sessions: self.caches.sessions(request.user_id, unix_ms()).await? })
    }

    pub(crate) async fn get_user_sessions(
        &self,
        request: GetUserSessionsRequest,
    ) -> Result<GetUserSessionResponse> {
        check::length(request.user_ids.len(), self.limits.lookup_max, "users")?;
        let mut sessions = Vec::new();
        for user_id in request.user_ids {
            sessions.extend(self.caches.sessions(user_id, unix_ms()).await?);
        }
        Ok(GetUserSessionResponse { sessions })
    }

    pub(crate) async fn set_user_session(&self, request: SetUserSessionRequest) -> Result<()> {
        check::length(request.changes.len(), self.limits.session_changes_max, "session changes")?;
        for change in &request.changes {
            let session = change.session.as_ref().filter(|session| is_sound(session));
            let session =
                session.ok_or_else(|| refuse::invalid("a session names user, device and gateway"))?;
            match change.kind() {
                Kind::Set => self.caches.set_session(session).await?,
                Kind::Refresh => drop(self.caches.refresh_session(session).await?),
                Kind::Delete => drop(self.caches.delete_session(session).await?),
                Kind::Unspecified => return Err(refuse::invalid("a session change says what to do")),
            }
        }
        Ok(())
    }
}

fn is_sound(session: &Session) -> bool {
    session.user_id != 0 && !session.device_id.is_empty() && !session.gateway_instance.contains(['\n', '/'])
}

fn ready_to_store(mut user: User) -> Result<User> {
    refuse::id(user.user_id, "a user id")?;
    if user.username.is_empty() || !user.email.contains('@') || user.password_hash.is_empty() {
        return Err(refuse::invalid("a user has a name, an e-mail address and a password hash"));
    }
    if user.created_at_ms == 0 {
        user.created_at_ms = unix_ms();
    }
    user.updated_at_ms = user.created_at_ms;
    if user.status() == UserStatus::Unspecified {
        user.set_status(UserStatus::Active);
    }
    Ok(user)
}
