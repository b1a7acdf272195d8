//! Profiles.
use gochat_infra::errors::Error;
use gochat_infra::rpc;
use gochat_proto::logic::v1::user_service_server::UserService;
use gochat_proto::logic::v1::{
    FindUserRequest, GetMeRequest, GetProfilesRequest, GetProfilesResponse, Profile, UpdateMeRequest,
};
use gochat_proto::queue::v1::user_event::Kind;
use gochat_proto::repo::v1 as repo;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use tonic::{Request, Response, Status};

use super::{answer, present};
use crate::domain::{Invalid, fields};
use crate::events::Events;

/// Profiles that one call may ask for.
const PROFILES_MAX: usize = 100;

/// UserService.
#[derive(Clone)]
pub(crate) struct Users {
    users: UserRepoClient<rpc::Client>,
    events: Events,
}

impl Users {
    pub(crate) fn new(repo: rpc::Client, events: Events) -> Self {
        Self { users: UserRepoClient::new(repo), events }
    }

    async fn me(&self, user_id: u64) -> Result<Profile, Error> {
        let request = repo::GetUserRequest { user_id, ..Default::default() };
        let user = present(self.users.clone().get_user(request).await?.into_inner().user, "user")?;
        let email = user.email.clone();
        Ok(Profile { email, ..public(user) })
    }

    async fn update_me(&self, asked: UpdateMeRequest) -> Result<Profile, Error> {
        asked.display_name.as_deref().map_or(Ok(()), fields::display_name)?;
        asked.avatar_url.as_deref().map_or(Ok(()), fields::avatar_url)?;
        if asked.display_name.is_some() || asked.avatar_url.is_some() {
            let update = repo::UpdateUserRequest {
                user_id: asked.user_id,
                display_name: asked.display_name,
                avatar_url: asked.avatar_url,
                ..Default::default()
            };
            self.users.clone().update_user(update).await?;
            self.events.user_did(Kind::Profile, asked.user_id, "");
        }
        self.me(asked.user_id).await
    }

    async fn find(&self, asked: FindUserRequest) -> Result<Profile, Error> {
        fields::username(&asked.username)?;
        let request = repo::GetUserByUsernameRequest { username: asked.username };
        let found = self.users.clone().get_user_by_username(request).await?.into_inner();
        Ok(public(present(found.user, "user")?))
    }

    async fn profiles(&self, asked: GetProfilesRequest) -> Result<GetProfilesResponse, Error> {
        if asked.user_ids.len() > PROFILES_MAX {
            let reason = format!("At most {PROFILES_MAX} users may be asked for at once.");
            return Err(Invalid::new("ids", reason).into());
        }
        let request = repo::GetUsersRequest { user_ids: asked.user_ids };
        let users = self.users.clone().get_users(request).await?.into_inner().users;
        Ok(GetProfilesResponse { profiles: users.into_iter().map(public).collect() })
    }
}

/// What others may see.
fn public(user: repo::User) -> Profile {
    Profile {
        user_id: user.user_id,
        username: user.username,
        display_name: user.display_name,
        avatar_url: user.avatar_url,
        email: String::new(),
        created_at_ms: user.created_at_ms,
    }
}

#[tonic::async_trait]
impl UserService for Users {
    async fn get_me(&self, request: Request<GetMeRequest>) -> Result<Response<Profile>, Status> {
        answer(self.me(request.into_inner().user_id).await)
    }

    async fn update_me(&self, request: Request<UpdateMeRequest>) -> Result<Response<Profile>, Status> {
        answer(self.update_me(request.into_inner()).await)
    }

    async fn find_user(&self, request: Request<FindUserRequest>) -> Result<Response<Profile>, Status> {
        answer(self.find(request.into_inner()).await)
    }

    async fn get_profiles(
        &self,
        request: Request<GetProfilesRequest>,
    ) -> Result<Response<GetProfilesResponse>, Status> {
        answer(self.profiles(request.into_inner()).await)
    }
}
