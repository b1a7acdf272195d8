//! Deletes rows that have expired or are of no use any more, in steps of one short transaction each, so that other writers come in between.
use gochat_infra::errors::Error;
use gochat_infra::rpc;
use gochat_proto::repo::v1::revocation_repo_client::RevocationRepoClient;
use gochat_proto::repo::v1::task_repo_client::TaskRepoClient;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::{PurgeRefreshTokensRequest, PurgeRevocationsRequest, PurgeTaskCursorsRequest};

use super::{Tools, Turn};

/// Which rows.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Rows {
    RefreshTokens,
    Revocations,
    TaskCursors,
}

/// A purge under way; a turn is one step.
pub(crate) struct Purge {
    rows: Rows,
    /// What expired, or was last changed, before this moment goes.
    before_ms: i64,
    repo: rpc::Client,
    step_rows: u32,
    steps_left: u32,
}

impl Purge {
    pub(super) fn new(rows: Rows, before_ms: i64, tools: &Tools) -> Self {
        let (step_rows, steps_left) = (tools.config.purge_step_rows, tools.config.purge_steps);
        Self { rows, before_ms, repo: tools.repo.clone(), step_rows, steps_left }
    }

    pub(super) async fn turn(&mut self) -> Turn {
        match self.step().await {
            Err(status) => Turn::failed(Error::from(status)),
            Ok(deleted) if deleted < u64::from(self.step_rows) => Turn::Done,
            Ok(_) => {
                self.steps_left = self.steps_left.saturating_sub(1);
                // What is left then is for the next purge.
                if self.steps_left == 0 { Turn::Done } else { Turn::More }
            }
        }
    }

    /// Returns how many were deleted.
    async fn step(&self) -> Result<u64, tonic::Status> {
        let (before_ms, limit) = (self.before_ms, self.step_rows);
        match self.rows {
            Rows::RefreshTokens => {
                let request = PurgeRefreshTokensRequest { expired_before_ms: before_ms, limit };
                let answer = UserRepoClient::new(self.repo.clone()).purge_refresh_tokens(request).await?;
                Ok(answer.into_inner().deleted)
            }
            Rows::Revocations => {
                let request = PurgeRevocationsRequest { expired_before_ms: before_ms, limit };
                let answer = RevocationRepoClient::new(self.repo.clone()).purge_revocations(request).await?;
                Ok(answer.into_inner().deleted)
            }
            Rows::TaskCursors => {
                let request = PurgeTaskCursorsRequest { updated_before_ms: before_ms, limit };
                let answer = TaskRepoClient::new(self.repo.clone()).purge_task_cursors(request).await?;
                Ok(answer.into_inner().deleted)
            }
        }
    }
}
