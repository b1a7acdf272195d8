//! Puts the regular tasks on the topic. Several instances put several: a purge that finds nothing costs one look.
use std::time::Duration;

use bytes::Bytes;
use gochat_infra::mq::{Outgoing, Producer, Target};
use gochat_infra::shutdown::Shutdown;
use gochat_proto::queue::v1::task::Body;
use gochat_proto::queue::v1::{PurgeRefreshTokens, PurgeRevocations, PurgeTaskCursors, Task};
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
        for purge in purges(crate::unix_ms(), config.cursor_max_age_ms) {
            if let Err(error) = producer.send_wait(purge).await {
                metrics.schedule_refused.inc();
                tracing::warn!(%error, "a purge could not be put on the queue; the next one will be");
            }
        }
    }
}

/// One of each kind. Those of a kind have one key: they never run at the same time.
fn purges(now_ms: i64, cursor_max_age_ms: u64) -> [Outgoing; 3] {
    let expired_before_ms = now_ms;
    let updated_before_ms = now_ms.saturating_sub_unsigned(cursor_max_age_ms);
    [
        ("purge-refresh-tokens", Body::PurgeRefreshTokens(PurgeRefreshTokens { expired_before_ms })),
        ("purge-revocations", Body::PurgeRevocations(PurgeRevocations { expired_before_ms })),
        ("purge-task-cursors", Body::PurgeTaskCursors(PurgeTaskCursors { updated_before_ms })),
    ]
    .map(|(kind, body)| {
        let task_id = format!("{kind}-{now_ms}");
        let value = Task { task_id, created_at_ms: now_ms, body: Some(body) }.encode_to_vec().into();
        Outgoing {
            topic: topics::TASKS,
            target: Target::ByKey,
            key: Bytes::from_static(kind.as_bytes()),
            value,
        }
    })
}
