//! Where users are connected, as gateways report it.
use gochat_infra::errors::Error;
use gochat_infra::rpc;
use gochat_proto::logic::v1::ReportSessionsRequest;
use gochat_proto::logic::v1::session_service_server::SessionService;
use gochat_proto::repo::v1::SetUserSessionRequest;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use tonic::{Request, Response, Status};

use super::answer;
use crate::downstream::Downstream;

/// SessionService.
#[derive(Clone)]
pub(crate) struct Sessions {
    users: UserRepoClient<rpc::Client>,
    downstream: Downstream,
}

impl Sessions {
    pub(crate) fn new(repo: rpc::Client, downstream: Downstream) -> Self {
        Self { users: UserRepoClient::new(repo), downstream }
    }

    async fn report(&self, asked: ReportSessionsRequest) -> Result<(), Error> {
        let users: Vec<u64> =
            asked.changes.iter().filter_map(|change| Some(change.session.as_ref()?.user_id)).collect();
        let request = SetUserSessionRequest { changes: asked.changes };
        let written = self.users.clone().set_user_session(request).await;
        // Also when the outcome is unknown: a route that is read again is never wrong.
        self.downstream.routes().forget_users(users);
        written?;
        Ok(())
    }
}

#[tonic::async_trait]
impl SessionService for Sessions {
    async fn report_sessions(&self, request: Request<ReportSessionsRequest>) -> Result<Response<()>, Status> {
        answer(self.report(request.into_inner()).await)
    }
}
