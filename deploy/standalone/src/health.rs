//! What /readyz says of the queue, the store and task, none of which knows about readiness itself.
use std::time::Duration;

use gochat_infra::admin::Readiness;
use gochat_infra::errors::Error;
use gochat_infra::mq::Queue;
use gochat_infra::rpc::Client;
use gochat_proto::repo::v1::ListRevocationsRequest;
use gochat_proto::repo::v1::revocation_repo_client::RevocationRepoClient;
use tokio::task::JoinSet;

/// Looks again and again until it is dropped.
#[derive(Debug)]
pub(crate) struct Health {
    _looking: JoinSet<()>,
}

/// What is looked at.
pub(crate) struct Looked<E> {
    pub(crate) queue: Queue,
    pub(crate) repo: Client,
    /// Names the part of task that has ended.
    pub(crate) task_ended: E,
}

impl Health {
    /// The conditions `queue`, `task` and `repo`. Must run in a tokio runtime.
    pub(crate) fn start<E>(looked: Looked<E>, readiness: &Readiness, interval: Duration) -> Health
    where
        E: Fn() -> Option<&'static str> + Send + 'static,
    {
        let Looked { queue, repo, task_ended } = looked;
        let mut looking = JoinSet::new();
        let told = readiness.clone();
        looking.spawn(async move {
            loop {
                tell(&told, "queue", queue.trouble());
                let ended = task_ended();
                tell(&told, "task", ended.map(|part| format!("{part} has ended, see the log; restart")));
                tokio::time::sleep(interval).await;
            }
        });
        // By itself: a store that hangs must not hide the others.
        let told = readiness.clone();
        looking.spawn(async move {
            loop {
                let failure = Box::pin(read_the_store(repo.clone())).await.err();
                tell(&told, "repo", failure.map(|error| format!("the store does not answer: {error}")));
                tokio::time::sleep(interval).await;
            }
        });
        Health { _looking: looking }
    }
}

fn tell(readiness: &Readiness, condition: &str, trouble: Option<String>) {
    match trouble {
        None => readiness.ready(condition),
        Some(reason) => readiness.not_ready(condition, reason),
    }
}

/// Something that only the database can answer, and cheaply: there are no revocations from the last id on.
async fn read_the_store(repo: Client) -> Result<(), Error> {
    let request =
        ListRevocationsRequest { after_revocation_id: i64::MAX.unsigned_abs(), now_ms: i64::MAX, limit: 1 };
    RevocationRepoClient::new(repo).list_revocations(request).await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use gochat_infra::mq::{EmbeddedConfig, TopicConfig};
    use gochat_infra::rpc::RpcConfig;

    use super::*;

    /// What the conditions say: `None` where all is well.
    async fn reasons(looked: Looked<fn() -> Option<&'static str>>) -> [Option<String>; 3] {
        let readiness = Readiness::new();
        let health = Health::start(looked, &readiness, Duration::from_millis(1));
        let begun = std::time::Instant::now();
        loop {
            let report = readiness.report();
            let conditions = report["conditions"].as_object().expect("conditions");
            if conditions.len() == 3 {
                drop(health);
                return ["queue", "task", "repo"].map(|name| {
                    assert_eq!(conditions[name]["ready"] == true, conditions[name]["reason"].is_null());
                    conditions[name]["reason"].as_str().map(str::to_owned)
                });
            }
            assert!(begun.elapsed() < Duration::from_secs(60), "{report}");
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }

    #[tokio::test]
    async fn what_has_ended_and_what_does_not_answer_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let config = EmbeddedConfig {
            dir: dir.path().to_owned(),
            topics: vec![TopicConfig::durable("work", 1)],
            ..EmbeddedConfig::default()
        };
        let queue = Queue::open_embedded(config).expect("a queue");
        // Nobody answers there.
        let repo =
            Client::local(tonic::service::Routes::default()).with_config(&RpcConfig { deadline_ms: 1_000 });
        let task_ended: fn() -> Option<&'static str> = || Some("what takes tasks");
        let [queue, task, repo] = reasons(Looked { queue, repo, task_ended }).await;
        assert_eq!(queue, None);
        assert!(task.is_some_and(|reason| reason.starts_with("what takes tasks has ended")));
        assert!(repo.is_some_and(|reason| reason.starts_with("the store does not answer: ")));
    }
}
