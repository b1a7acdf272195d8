//! Deletes refresh tokens that have expired.
use gochat_infra::errors::{Code, Error};
use gochat_infra::rpc;
use gochat_infra::shutdown::Shutdown;
use gochat_proto::queue::v1::PurgeRefreshTokens as Purge;
use gochat_proto::repo::v1::PurgeRefreshTokensRequest;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;

use crate::config::TaskConfig;
use crate::dispatch::Outcome;

/// Deletes in steps, each a short transaction, so that other writers come in between.
pub(crate) struct PurgeRefreshTokens {
    users: UserRepoClient<rpc::Client>,
    shutdown: Shutdown,
    step_rows: u32,
    steps: u32,
}

impl PurgeRefreshTokens {
    pub(crate) fn new(config: &TaskConfig, repo: rpc::Client, shutdown: Shutdown) -> Self {
        Self {
            users: UserRepoClient::new(repo),
            shutdown,
            step_rows: config.purge_step_rows,
            steps: config.purge_steps,
        }
    }

    pub(crate) async fn run(&self, purge: Purge) -> Outcome {
        for _ in 0..self.steps {
            if self.shutdown.is_requested() {
                return Outcome::Retry("the service stops".into());
            }
            let request = PurgeRefreshTokensRequest {
                expired_before_ms: purge.expired_before_ms,
                limit: self.step_rows,
            };
            match self.users.clone().purge_refresh_tokens(request).await.map_err(Error::from) {
                Ok(answer) if answer.get_ref().deleted < u64::from(self.step_rows) => return Outcome::Done,
                Ok(_) => tokio::task::yield_now().await,
                Err(error) if error.code == Code::InvalidInput => return Outcome::Never(error.to_string()),
                Err(error) => return Outcome::Retry(error.to_string()),
            }
        }
        // The rest is for the next one.
        Outcome::Done
    }
}
