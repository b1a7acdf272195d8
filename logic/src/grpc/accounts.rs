//! What an operator does to accounts, and what gateways must know of it.
use gochat_infra::errors::Error;
use gochat_infra::rpc;
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::logic::v1::account_service_server::AccountService;
use gochat_proto::logic::v1::revocation_service_server::RevocationService;
use gochat_proto::logic::v1::{BanUserRequest, BanUserResponse, UnbanUserRequest, UnbanUserResponse};
use gochat_proto::repo::v1 as repo;
use gochat_proto::repo::v1::UserStatus;
use gochat_proto::repo::v1::revocation_repo_client::RevocationRepoClient;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use tonic::{Request, Response, Status};

use super::{answer, present};
use crate::auth::revoke::Revoker;

/// AccountService.
#[derive(Clone)]
pub(crate) struct Accounts {
    users: UserRepoClient<rpc::Client>,
    revoker: Revoker,
}

impl Accounts {
    pub(crate) fn new(repo: rpc::Client, revoker: Revoker) -> Self {
        Self { users: UserRepoClient::new(repo), revoker }
    }

    /// Done again for one who is banned: an operator who repeats it wants to be certain that nothing of him is left.
    async fn ban(&self, username: String) -> Result<BanUserResponse, Error> {
        let user = self.by_name(username).await?;
        let revocation = self.revoker.of(user.user_id, String::new(), RevokeReason::Banned);
        let request = repo::RevokeRequest {
            revocation: Some(revocation),
            refresh_tokens: true,
            status: Some(UserStatus::Banned.into()),
            ..Default::default()
        };
        self.revoker.revoke(request).await?;
        let changed = user.status() != UserStatus::Banned;
        tracing::info!(user = user.username, user_id = user.user_id, changed, "user banned");
        Ok(BanUserResponse { user_id: user.user_id, changed })
    }

    async fn unban(&self, username: String) -> Result<UnbanUserResponse, Error> {
        let user = self.by_name(username).await?;
        let changed = user.status() == UserStatus::Banned;
        if changed {
            let status = Some(UserStatus::Active.into());
            let update = repo::UpdateUserRequest { user_id: user.user_id, status, ..Default::default() };
            self.users.clone().update_user(update).await?;
        }
        tracing::info!(user = user.username, user_id = user.user_id, changed, "user unbanned");
        Ok(UnbanUserResponse { user_id: user.user_id, changed })
    }

    async fn by_name(&self, username: String) -> Result<repo::User, Error> {
        let request = repo::GetUserByUsernameRequest { username };
        let found = self.users.clone().get_user_by_username(request).await?;
        present(found.into_inner().user, "user")
    }
}

#[tonic::async_trait]
impl AccountService for Accounts {
    async fn ban_user(&self, request: Request<BanUserRequest>) -> Result<Response<BanUserResponse>, Status> {
        answer(self.ban(request.into_inner().username).await)
    }

    async fn unban_user(
        &self,
        request: Request<UnbanUserRequest>,
    ) -> Result<Response<UnbanUserResponse>, Status> {
        answer(self.unban(request.into_inner().username).await)
    }
}

/// RevocationService: gateways have no way to repo of their own.
#[derive(Clone)]
pub(crate) struct Revocations {
    revocations: RevocationRepoClient<rpc::Client>,
}

impl Revocations {
    pub(crate) fn new(repo: rpc::Client) -> Self {
        Self { revocations: RevocationRepoClient::new(repo) }
    }
}

#[tonic::async_trait]
impl RevocationService for Revocations {
    async fn list_revocations(
        &self,
        request: Request<repo::ListRevocationsRequest>,
    ) -> Result<Response<repo::ListRevocationsResponse>, Status> {
        self.revocations.clone().list_revocations(request.into_inner()).await
    }
}
