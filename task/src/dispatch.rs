//! Which processor does a task.
use gochat_infra::mq::Record;
use gochat_infra::rpc;
use gochat_infra::shutdown::Shutdown;
use gochat_proto::queue::v1::Task;
use gochat_proto::queue::v1::task::Body;
use prost::Message;

use crate::config::TaskConfig;
use crate::processors::purge::PurgeRefreshTokens;

/// What became of an attempt.
#[derive(Debug)]
pub(crate) enum Outcome {
    Done,
    /// May work later: the partition waits.
    Retry(String),
    /// Can never work, and why.
    Never(String),
}

/// One processor for each type of task; the match over the types is their register, so none can be forgotten.
pub(crate) struct Processors {
    purge: PurgeRefreshTokens,
}

impl Processors {
    pub(crate) fn new(config: &TaskConfig, repo: rpc::Client, shutdown: Shutdown) -> Self {
        Self { purge: PurgeRefreshTokens::new(config, repo, shutdown) }
    }

    /// One attempt. Names the type for the metrics.
    pub(crate) async fn run(&self, record: &Record) -> (&'static str, Outcome) {
        let task = match Task::decode(record.value.clone()) {
            Ok(task) => task,
            Err(e) => return ("unknown", Outcome::Never(format!("not a task: {e}"))),
        };
        match task.body {
            Some(Body::PurgeRefreshTokens(purge)) => ("purge-refresh-tokens", self.purge.run(purge).await),
            None => ("unknown", Outcome::Never("a task of a type that this version does not know".into())),
        }
    }
}
