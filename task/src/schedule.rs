//! Puts the regular tasks on the topic. Several instances put several: a purge that finds nothing costs one look.
use std::time::Duration;

use bytes::Bytes;
use gochat_infra::mq::{Outgoing, Producer, Target};
use gochat_infra::shutdown::Shutdown;
use gochat_proto::queue::v1::task::Body;
use gochat_proto::queue::v1::{PurgeRefreshTokens, Task};
use gochat_proto::topics;
use prost::Message;

use crate::config::TaskConfig;
use crate::metrics::TaskMetrics;

/// Runs until the shutdown.
pub(crate) async fn run(config: TaskConfig, producer: Producer, metrics: TaskMetrics, shutdown: Shutdown) {
    let mut ticks = tokio::time::interval(Duration::from_secs(config.purge_interval_s));
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = shutdown.requested() => return,
            _ = ticks.tick() => {}
        }
        if let Err(error) = producer.send_wait(purge(crate::unix_ms())).await {
            metrics.schedule_refused.inc();
            tracing::warn!(%error, "a purge could not be put on the queue; the next one will be");
        }
    }
}

fn purge(now_ms: i64) -> Outgoing {
    let task_id = format!("purge-refresh-tokens-{now_ms}");
    let body = Some(Body::PurgeRefreshTokens(PurgeRefreshTokens { expired_before_ms: now_ms }));
    let key = Bytes::from(task_id.clone());
    let value = Task { task_id, created_at_ms: now_ms, body }.encode_to_vec().into();
    Outgoing { topic: topics::TASKS, target: Target::ByKey, key, value }
}
