//! Registering, signing in, and what follows from it.
use std::sync::Arc;
use std::time::{Duration, Instant};

use gochat_infra::errors::{Code, Error};
use gochat_infra::idgen::IdGen;
use gochat_infra::rpc;
use gochat_infra::token::{Claims, TokenKeys};
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::logic::v1::auth_service_server::AuthService;
use gochat_proto::logic::v1::{
    ChangePasswordRequest, LoginRequest, LoginResponse, LogoutRequest, RefreshTokenRequest, RegisterRequest,
    RegisterResponse,
};
use gochat_proto::queue::v1::user_event::Kind;
use gochat_proto::repo::v1 as repo;
use gochat_proto::repo::v1::revoke_refresh_tokens_request::Which;
use gochat_proto::repo::v1::rotate_refresh_token_response::Outcome;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use tonic::{Request, Response, Status};

use super::{answer, none_if, present};
use crate::auth::limits::{Attempt, Limits};
use crate::auth::metrics::AuthMetrics;
use crate::auth::password::Passwords;
use crate::auth::refresh::{RefreshSecret, RefreshToken, random_text};
use crate::auth::revoke::Revoker;
use crate::config::AuthConfig;
use crate::domain::{Invalid, fields};
use crate::events::Events;
use crate::pipeline::unix_ms;

/// Length of a device id that the server draws; 128 bits.
const DRAWN_DEVICE_CHARS: usize = 22;

/// What the service is made of.
pub(crate) struct AuthDeps {
    pub repo: rpc::Client,
    pub ids: IdGen,
    pub keys: TokenKeys,
    pub passwords: Passwords,
    pub limits: Limits,
    pub refresh_secret: RefreshSecret,
    pub revoker: Revoker,
    pub events: Events,
    pub metrics: AuthMetrics,
}

/// AuthService.
#[derive(Clone)]
pub(crate) struct Auth {
    shared: Arc<Shared>,
    users: UserRepoClient<rpc::Client>,
}

struct Shared {
    ids: IdGen,
    keys: TokenKeys,
    passwords: Passwords,
    limits: Limits,
    refresh_secret: RefreshSecret,
    revoker: Revoker,
    events: Events,
    metrics: AuthMetrics,
    access_token_s: u32,
    refresh_token: Duration,
    refresh_grace_ms: u32,
}

impl Auth {
    pub(crate) fn new(config: &AuthConfig, deps: AuthDeps) -> Self {
        let shared = Shared {
            ids: deps.ids,
            keys: deps.keys,
            passwords: deps.passwords,
            limits: deps.limits,
            refresh_secret: deps.refresh_secret,
            revoker: deps.revoker,
            events: deps.events,
            metrics: deps.metrics,
            access_token_s: config.access_token_s,
            refresh_token: Duration::from_secs(config.refresh_token_s.into()),
            refresh_grace_ms: config.refresh_grace_ms,
        };
        Self { shared: Arc::new(shared), users: UserRepoClient::new(deps.repo) }
    }

    async fn register(&self, asked: RegisterRequest) -> Result<RegisterResponse, Error> {
        fields::username(&asked.username)?;
        fields::email(&asked.email)?;
        fields::password("password", &asked.password)?;
        let display_name = match asked.display_name.is_empty() {
            true => asked.username.clone(),
            false => asked.display_name,
        };
        fields::display_name(&display_name)?;
        self.shared.limits.registration(&asked.peer_ip, Instant::now())?;
        // Asked before the hash, which is what a registration costs; the store decides in the end.
        if self.by_name(&asked.username).await?.is_some() {
            return Err(Error::new(
                Code::UsernameTaken,
                "This user name is taken; please choose another one.",
            ));
        }
        let password_hash = self.shared.passwords.hash(asked.password).await?;
        let user_id = self.next_id()?;
        let now_ms = unix_ms();
        let user = repo::User {
            user_id,
            username: asked.username,
            email: asked.email,
            password_hash,
            display_name,
            avatar_url: String::new(),
            status: repo::UserStatus::Active.into(),
            created_at_ms: now_ms,
            updated_at_ms: now_ms,
        };
        self.users.clone().create_user(repo::CreateUserRequest { user: Some(user) }).await?;
        Ok(RegisterResponse { user_id })
    }

    async fn login(&self, asked: LoginRequest) -> Result<LoginResponse, Error> {
        fields::device_id(&asked.device_id)?;
        fields::device_name(&asked.device_name)?;
        // What can't be a name or a password is wrong without a look, and hashing has a bounded input.
        if fields::username(&asked.username).is_err()
            || fields::password("password", &asked.password).is_err()
        {
            return Err(self.wrong_name_or_password());
        }
        let attempt = self.shared.limits.login(&asked.username, &asked.peer_ip, Instant::now())?;
        let user = self.by_name(&asked.username).await;
        let user = user.inspect_err(|_| self.shared.limits.untried(&attempt))?;
        let stored = user.as_ref().map(|user| user.password_hash.clone());
        let right = self.is_right(&attempt, asked.password, stored).await?;
        let Some(user) = user.filter(|_| right) else { return Err(self.wrong_name_or_password()) };
        may_sign_in(user.status())?;
        let device_id = match asked.device_id.is_empty() {
            true => random_text()[..DRAWN_DEVICE_CHARS].to_owned(),
            false => asked.device_id,
        };
        let refresh = RefreshToken::random();
        let token = repo::RefreshToken {
            token_hash: refresh.hash(),
            family_id: self.next_id()?,
            user_id: user.user_id,
            device_id: device_id.clone(),
            expires_at_ms: self.refresh_end_ms(),
        };
        let request = repo::CreateRefreshTokenRequest { token: Some(token) };
        let issued_at_ms = self.users.clone().create_refresh_token(request).await?.into_inner().issued_at_ms;
        self.check_unchanged(&user, &refresh).await?;
        self.shared.events.user_did(Kind::Login, user.user_id, &device_id);
        Ok(self.signed_in(user.user_id, device_id, &refresh, issued_at_ms))
    }

    /// A ban or a new password between the look at the account and the new refresh token has not ended that token,
    /// nor the access token, which is issued with it. One that comes later ends both.
    async fn check_unchanged(&self, before: &repo::User, refresh: &RefreshToken) -> Result<(), Error> {
        let request = repo::GetUserRequest { user_id: before.user_id, with_password_hash: true };
        let user = present(self.users.clone().get_user(request).await?.into_inner().user, "user")?;
        if user.status == before.status && user.password_hash == before.password_hash {
            return Ok(());
        }
        self.revoke_refresh(refresh).await?;
        may_sign_in(user.status())?;
        Err(self.wrong_name_or_password())
    }

    async fn refresh(&self, asked: RefreshTokenRequest) -> Result<LoginResponse, Error> {
        let Some(token) = RefreshToken::parse(&asked.refresh_token) else { return Err(sign_in_again()) };
        let successor = self.shared.refresh_secret.successor(&token);
        let now_ms = unix_ms();
        let request = repo::RotateRefreshTokenRequest {
            token_hash: token.hash(),
            successor_hash: successor.hash(),
            successor_expires_at_ms: self.refresh_end_ms(),
            now_ms,
            grace_ms: self.shared.refresh_grace_ms.into(),
            revocation_expires_at_ms: Some(self.shared.revoker.expires_at_ms(now_ms)),
        };
        let rotated = self.users.clone().rotate_refresh_token(request).await?.into_inner();
        match rotated.outcome() {
            Outcome::Rotated => {}
            Outcome::Invalid | Outcome::Unspecified => return Err(sign_in_again()),
            Outcome::Reused => {
                self.shared.metrics.refresh_reused.inc();
                // Stored with the family's end.
                rotated.revocation.into_iter().for_each(|revocation| self.shared.revoker.tell(revocation));
                return Err(sign_in_again());
            }
        }
        let request = repo::GetUserRequest { user_id: rotated.user_id, ..Default::default() };
        let user = present(self.users.clone().get_user(request).await?.into_inner().user, "user")?;
        may_sign_in(user.status())?;
        Ok(self.signed_in(rotated.user_id, rotated.device_id, &successor, rotated.issued_at_ms))
    }

    async fn logout(&self, asked: LogoutRequest) -> Result<(), Error> {
        if asked.device_id.is_empty() {
            // It would stand for every device.
            return Err(Invalid::new("deviceId", "A log-out names its device.").into());
        }
        let device_id = asked.device_id.clone();
        let revocation = self.shared.revoker.of(asked.user_id, device_id, RevokeReason::Logout);
        let request =
            repo::RevokeRequest { revocation: Some(revocation), refresh_tokens: true, ..Default::default() };
        self.shared.revoker.revoke(request).await?;
        // After it, which must still see how late this family's last token was issued. Mostly it is gone by now.
        if let Some(token) = RefreshToken::parse(&asked.refresh_token) {
            self.revoke_refresh(&token).await?;
        }
        self.shared.events.user_did(Kind::Logout, asked.user_id, &asked.device_id);
        Ok(())
    }

    async fn change_password(&self, asked: ChangePasswordRequest) -> Result<(), Error> {
        fields::password("new", &asked.new_password)?;
        let wrong = || Error::new(Code::PermissionDenied, "The old password is wrong.");
        fields::password("old", &asked.old_password).map_err(|_| wrong())?;
        let attempt = self.shared.limits.change(asked.user_id, Instant::now())?;
        let request = repo::GetUserRequest { user_id: asked.user_id, with_password_hash: true };
        let user = present(self.users.clone().get_user(request).await?.into_inner().user, "user")?;
        if !self.is_right(&attempt, asked.old_password, Some(user.password_hash)).await? {
            return Err(wrong());
        }
        let password_hash = Some(self.shared.passwords.hash(asked.new_password).await?);
        let reason = RevokeReason::PasswordChanged;
        let request = repo::RevokeRequest {
            revocation: Some(self.shared.revoker.of(asked.user_id, String::new(), reason)),
            refresh_tokens: true,
            password_hash,
            ..Default::default()
        };
        self.shared.revoker.revoke(request).await
    }

    /// Tries a password, as an attempt that was counted already.
    async fn is_right(
        &self,
        attempt: &Attempt,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, Error> {
        let (passwords, limits) = (&self.shared.passwords, &self.shared.limits);
        let tried = passwords.verify(password, stored).await.inspect_err(|_| limits.untried(attempt))?;
        if tried {
            limits.right(attempt);
        }
        Ok(tried)
    }

    async fn by_name(&self, username: &str) -> Result<Option<repo::User>, Error> {
        let request = repo::GetUserByUsernameRequest { username: username.to_owned() };
        let found = none_if(self.users.clone().get_user_by_username(request).await, Code::UserNotFound)?;
        found.map(|found| present(found.into_inner().user, "user")).transpose()
    }

    /// Ends the family of a refresh token.
    async fn revoke_refresh(&self, token: &RefreshToken) -> Result<(), Error> {
        let request = repo::RevokeRefreshTokensRequest { which: Some(Which::TokenHash(token.hash())) };
        self.users.clone().revoke_refresh_tokens(request).await?;
        Ok(())
    }

    /// The end is by the clock as it is; `issued_at_ms` may be ahead of it after the clock has gone back.
    fn signed_in(
        &self,
        user_id: u64,
        device_id: String,
        refresh: &RefreshToken,
        issued_at_ms: i64,
    ) -> LoginResponse {
        let now_ms = unix_ms().max(0) as u64;
        let expires_in = self.shared.access_token_s;
        let claims = Claims {
            sub: user_id,
            device: device_id.clone(),
            iat_ms: issued_at_ms.max(0) as u64,
            exp: now_ms / 1000 + u64::from(expires_in),
        };
        LoginResponse {
            user_id,
            device_id,
            access_token: self.shared.keys.sign(&claims),
            refresh_token: refresh.to_text(),
            expires_in,
        }
    }

    fn wrong_name_or_password(&self) -> Error {
        self.shared.metrics.logins_failed.inc();
        Error::new(Code::Unauthenticated, "The user name or the password is wrong.")
    }

    fn refresh_end_ms(&self) -> i64 {
        unix_ms() + self.shared.refresh_token.as_millis() as i64
    }

    fn next_id(&self) -> Result<u64, Error> {
        self.shared.ids.next().map_err(super::no_id)
    }
}

fn sign_in_again() -> Error {
    Error::new(Code::Unauthenticated, "Your session has ended; please sign in again.")
}

fn may_sign_in(status: repo::UserStatus) -> Result<(), Error> {
    match status {
        repo::UserStatus::Active => Ok(()),
        repo::UserStatus::Banned => Err(Error::new(Code::PermissionDenied, "This account has been banned.")),
        repo::UserStatus::Inactive | repo::UserStatus::Unspecified => {
            Err(Error::new(Code::PermissionDenied, "This account is not active."))
        }
    }
}

#[tonic::async_trait]
impl AuthService for Auth {
    async fn register(
        &self,
        request: Request<RegisterRequest>,
    ) -> Result<Response<RegisterResponse>, Status> {
        answer(self.register(request.into_inner()).await)
    }

    async fn login(&self, request: Request<LoginRequest>) -> Result<Response<LoginResponse>, Status> {
        answer(self.login(request.into_inner()).await)
    }

    async fn refresh_token(
        &self,
        request: Request<RefreshTokenRequest>,
    ) -> Result<Response<LoginResponse>, Status> {
        answer(self.refresh(request.into_inner()).await)
    }

    async fn logout(&self, request: Request<LogoutRequest>) -> Result<Response<()>, Status> {
        answer(self.logout(request.into_inner()).await)
    }

    async fn change_password(&self, request: Request<ChangePasswordRequest>) -> Result<Response<()>, Status> {
        answer(self.change_password(request.into_inner()).await)
    }
}
