//! Promise: a task is tried until it is done, what can never be done goes to the dead letter, and expired refresh
//! tokens, revocations and old cursors are purged by themselves.
//!
//! Method: the real queue and the real repo, with calls between them refused.
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::repo::v1::revocation_repo_client::RevocationRepoClient;
use gochat_proto::repo::v1::rotate_refresh_token_response::Outcome;
use gochat_proto::repo::v1::task_repo_client::TaskRepoClient;
use gochat_proto::repo::v1::{
    CreateRefreshTokenRequest, ListRevocationsRequest, RefreshToken, Revocation, RevokeRequest,
    RotateRefreshTokenRequest, SetTaskCursorRequest,
};
use gochat_proto::topics;
use gochat_task::TaskConfig;
use prost::Message;

use crate::faults::{Door, Fault};
use crate::support::{House, unix_ms};

const DAY_MS: i64 = 24 * 60 * 60 * 1000;

impl House {
    async fn give_token(&self, number: u8, expires_at_ms: i64) {
        let token = RefreshToken {
            token_hash: vec![number; 32],
            family_id: u64::from(number) + 1,
            user_id: 1,
            device_id: "phone".into(),
            expires_at_ms,
        };
        let request = CreateRefreshTokenRequest { token: Some(token) };
        self.users().create_refresh_token(request).await.unwrap();
    }

    /// Whether the token is there, seen by a clock of long ago so that none counts as expired.
    async fn has_token(&self, number: u8) -> bool {
        let request = RotateRefreshTokenRequest {
            token_hash: vec![number; 32],
            successor_hash: vec![number + 100; 32],
            successor_expires_at_ms: unix_ms() + DAY_MS,
            now_ms: 1,
            grace_ms: 0,
            revocation_expires_at_ms: None,
        };
        let rotated = self.users().rotate_refresh_token(request).await.unwrap().into_inner();
        rotated.outcome() == Outcome::Rotated
    }

    /// Revocations that are not expired to a clock of long ago.
    async fn revocations(&self) -> usize {
        let mut revocations = RevocationRepoClient::new(self.client());
        let request = ListRevocationsRequest { after_revocation_id: 0, now_ms: 1, limit: 100 };
        revocations.list_revocations(request).await.unwrap().into_inner().revocations.len()
    }

    async fn revoke(&self, expires_at_ms: i64) {
        let revocation = Revocation {
            user_id: 1,
            device_id: "phone".into(),
            issued_until_ms: 1,
            reason: RevokeReason::Logout.into(),
            expires_at_ms,
            ..Revocation::default()
        };
        let request = RevokeRequest { revocation: Some(revocation), ..RevokeRequest::default() };
        RevocationRepoClient::new(self.client()).revoke(request).await.unwrap();
    }
}

/// The key of the purges that run by themselves: what has it waits behind them.
const BEHIND_THE_PURGE: &str = "purge-refresh-tokens";

#[tokio::test]
async fn expired_tokens_are_purged_in_steps_although_calls_fail() {
    let house = House::open().await;
    house.make_users(1).await;
    for number in 0..5 {
        house.give_token(number, unix_ms() - DAY_MS).await;
    }
    house.give_token(9, unix_ms() + DAY_MS).await;
    let last_step = Door::closed();
    house.faults.plan("PurgeRefreshTokens", 2, Fault::Refuse);
    house.faults.plan("PurgeRefreshTokens", 1, Fault::LoseAnswer);
    // Of 5 rows the lost step deleted 2; 2 and 1 are left.
    house.faults.plan("PurgeRefreshTokens", 1, Fault::Hold(last_step.clone()));
    let (task, shutdown, metrics) = house
        .start(TaskConfig {
            purge_step_rows: 2,
            backoff_min_ms: 1,
            backoff_max_ms: 2,
            ..TaskConfig::default()
        })
        .await;
    last_step.arrival().await;
    last_step.open();
    // A task behind it is only reached when it is done.
    house.send(BEHIND_THE_PURGE, vec![0xff; 5]).await;
    house.dead_letter(0).await;
    for number in 0..5 {
        assert!(!house.has_token(number).await, "{number}");
    }
    assert!(house.has_token(9).await);
    shutdown.trigger();
    task.join().await;
    let text = metrics.encode();
    assert!(text.contains(r#"task_tasks_total{kind="purge-refresh-tokens",outcome="retry"} 3"#), "{text}");
    assert!(text.contains(r#"task_tasks_total{kind="purge-refresh-tokens",outcome="done"} 1"#), "{text}");
}

#[tokio::test]
async fn a_purge_of_too_many_leaves_the_rest_for_the_next_one() {
    let house = House::open().await;
    house.make_users(1).await;
    for number in 0..5 {
        house.give_token(number, unix_ms() - DAY_MS).await;
    }
    let config = TaskConfig { purge_step_rows: 1, purge_steps: 3, ..TaskConfig::default() };
    let (task, shutdown, metrics) = house.start(config).await;
    house.until(|| metrics.encode().contains(r#"kind="purge-refresh-tokens",outcome="done"} 1"#)).await;
    let mut left = 0;
    for number in 0..5 {
        left += u32::from(house.has_token(number).await);
    }
    assert_eq!(left, 2);
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn what_can_never_be_done_is_buried_with_its_reason() {
    let house = House::open().await;
    let (task, shutdown, _) = house.start(TaskConfig::default()).await;
    house
        .send(
            "k",
            gochat_proto::queue::v1::Task { task_id: "t".into(), ..Default::default() }.encode_to_vec(),
        )
        .await;
    let letter = house.dead_letter(0).await;
    assert!(letter.error.contains("does not know"), "{}", letter.error);
    assert_eq!((letter.topic.as_str(), &letter.key[..]), (topics::TASKS, &b"k"[..]));
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn a_task_that_was_not_done_is_done_after_a_restart() {
    let house = House::open().await;
    house.make_users(1).await;
    house.give_token(0, unix_ms() - DAY_MS).await;
    house.faults.plan("PurgeRefreshTokens", 1, Fault::Refuse);
    let hour_ms = 3_600_000;
    let slow = TaskConfig { backoff_min_ms: hour_ms, backoff_max_ms: hour_ms, ..TaskConfig::default() };
    let (task, shutdown, _) = house.start(slow).await;
    while house.faults.left() > 0 {
        tokio::task::yield_now().await;
    }
    shutdown.trigger();
    task.join().await;
    let (task, shutdown, _) = house.start(TaskConfig::default()).await;
    house.send(BEHIND_THE_PURGE, vec![0xff; 5]).await;
    house.dead_letter(0).await;
    assert!(!house.has_token(0).await);
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn expired_revocations_are_purged_by_themselves() {
    let house = House::open().await;
    house.make_users(1).await;
    house.revoke(unix_ms() - DAY_MS).await;
    house.revoke(unix_ms() + DAY_MS).await;
    assert_eq!(house.revocations().await, 2);
    house.faults.plan("PurgeRevocations", 2, Fault::LoseAnswer);
    let config = TaskConfig { backoff_min_ms: 1, backoff_max_ms: 2, ..TaskConfig::default() };
    let (task, shutdown, metrics) = house.start(config).await;
    house.until(|| metrics.encode().contains(r#"kind="purge-revocations",outcome="done"} 1"#)).await;
    assert_eq!(house.revocations().await, 1);
    shutdown.trigger();
    task.join().await;
}

#[tokio::test]
async fn cursors_of_old_dead_letters_are_purged_by_themselves() {
    for (cursor_max_age_ms, is_kept) in [(TaskConfig::default().cursor_max_age_ms, true), (1, false)] {
        let house = House::open().await;
        let request = SetTaskCursorRequest { task_id: "fanout-1".into(), cursor: 7 };
        TaskRepoClient::new(house.client()).set_task_cursor(request).await.unwrap();
        let set_at_ms = unix_ms();
        // The purge is put on the topic at the start, and looks back from then.
        house.until(|| unix_ms() > set_at_ms + 1).await;
        let (task, shutdown, metrics) =
            house.start(TaskConfig { cursor_max_age_ms, ..TaskConfig::default() }).await;
        house.until(|| metrics.encode().contains(r#"kind="purge-task-cursors",outcome="done"} 1"#)).await;
        assert_eq!(house.cursor("fanout-1").await.is_some(), is_kept, "{cursor_max_age_ms}");
        shutdown.trigger();
        task.join().await;
    }
}
