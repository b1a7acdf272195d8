//! What the tasks do, one turn at a time: a turn is short, so that a large task never holds up the others.
mod fan_out;
mod purge;

use std::sync::Arc;

use gochat_infra::errors::{Code, Error};
use gochat_infra::mq::{Producer, Record};
use gochat_infra::registry::Registry;
use gochat_infra::rpc;
use gochat_proto::queue::v1::Task;
use gochat_proto::queue::v1::task::Body;
use prost::Message;

use crate::config::TaskConfig;
use fan_out::FanOut;
use purge::{Purge, Rows};

/// What became of a turn.
#[derive(Debug)]
pub(crate) enum Turn {
    Done,
    /// The next turn goes on.
    More,
    /// May work later.
    Retry(String),
    /// Can never work, and why.
    Never(String),
}

impl Turn {
    fn failed(error: Error) -> Turn {
        match error.code {
            Code::InvalidInput | Code::GroupNotFound => Turn::Never(error.to_string()),
            _ => Turn::Retry(error.to_string()),
        }
    }
}

/// What the tasks work with.
pub(crate) struct Tools {
    pub repo: rpc::Client,
    pub registry: Registry,
    pub producer: Producer,
    pub config: TaskConfig,
}

/// A task under way. Each type has its arm here and in [`Job::open`], so none can be forgotten.
pub(crate) enum Job {
    Purge(Purge),
    FanOut(FanOut),
    /// Behaves as a test says.
    #[cfg(test)]
    Scripted(crate::tests::Script),
}

impl Job {
    /// The job of a record, and the name of its type.
    ///
    /// # Errors
    /// Why it can never be done.
    pub(crate) fn open(record: &Record, tools: &Arc<Tools>) -> (&'static str, Result<Job, String>) {
        let task = match Task::decode(record.value.clone()) {
            Ok(task) => task,
            Err(e) => return ("unknown", Err(format!("not a task: {e}"))),
        };
        let purge = |rows, before_ms| Ok(Job::Purge(Purge::new(rows, before_ms, tools)));
        match task.body {
            Some(Body::PurgeRefreshTokens(body)) => {
                ("purge-refresh-tokens", purge(Rows::RefreshTokens, body.expired_before_ms))
            }
            Some(Body::PurgeRevocations(body)) => {
                ("purge-revocations", purge(Rows::Revocations, body.expired_before_ms))
            }
            Some(Body::PurgeTaskCursors(body)) => {
                ("purge-task-cursors", purge(Rows::TaskCursors, body.updated_before_ms))
            }
            Some(Body::FanOutGroup(body)) => {
                ("fan-out-group", FanOut::open(task.task_id, body, tools.clone()).map(Job::FanOut))
            }
            None => ("unknown", Err("a task of a type that this version does not know".into())),
        }
    }

    /// Does the next piece. After [`Turn::Retry`] the same piece is next again.
    pub(crate) async fn turn(&mut self) -> Turn {
        match self {
            Job::Purge(purge) => purge.turn().await,
            Job::FanOut(fan_out) => fan_out.turn().await,
            #[cfg(test)]
            Job::Scripted(script) => script().await,
        }
    }
}
