//! Refresh tokens: rotated once, again within the grace, and reuse ends the family.
use super::*;
use revoke_refresh_tokens_request::Which;
use rotate_refresh_token_response::Outcome;

const GRACE_MS: i64 = 60_000;
const LIFE_MS: i64 = 1_000_000;

pub(super) fn hash(name: u8) -> Vec<u8> {
    vec![name; 32]
}

pub(super) async fn create(bench: &Bench, name: u8, family_id: u64, user_id: u64, device: &str) {
    let token = RefreshToken {
        token_hash: hash(name),
        family_id,
        user_id,
        device_id: device.into(),
        expires_at_ms: T0 + LIFE_MS,
    };
    let request = CreateRefreshTokenRequest { token: Some(token) };
    bench.users.clone().create_refresh_token(request).await.unwrap();
}

async fn rotate(bench: &Bench, old: u8, new: u8, now_ms: i64) -> Outcome {
    let request = RotateRefreshTokenRequest {
        token_hash: hash(old),
        successor_hash: hash(new),
        successor_expires_at_ms: now_ms + LIFE_MS,
        now_ms,
        grace_ms: GRACE_MS,
        revocation_expires_at_ms: None,
    };
    let answer = bench.users.clone().rotate_refresh_token(request).await.unwrap().into_inner();
    if answer.outcome() == Outcome::Rotated {
        assert_eq!((answer.user_id, &answer.device_id[..], answer.family_id), (1, "phone", 5));
    }
    answer.outcome()
}

#[tokio::test]
async fn a_token_is_rotated_and_its_successor_too() {
    let bench = open().await;
    create(&bench, 1, 5, 1, "phone").await;
    assert_eq!(rotate(&bench, 1, 2, T0).await, Outcome::Rotated);
    assert_eq!(rotate(&bench, 2, 3, T0 + 1).await, Outcome::Rotated);
    assert_eq!(rotate(&bench, 9, 10, T0).await, Outcome::Invalid);
}

#[tokio::test]
async fn within_the_grace_the_old_token_gives_the_same_successor() {
    let bench = open().await;
    create(&bench, 1, 5, 1, "phone").await;
    assert_eq!(rotate(&bench, 1, 2, T0).await, Outcome::Rotated);
    assert_eq!(rotate(&bench, 1, 2, T0 + GRACE_MS).await, Outcome::Rotated);
    // Another successor than the one that was stored is nobody's token, and no theft either.
    assert_eq!(rotate(&bench, 1, 7, T0 + 1).await, Outcome::Invalid);
    assert_eq!(rotate(&bench, 2, 3, T0 + 2).await, Outcome::Rotated);
}

#[tokio::test]
async fn reuse_ends_the_family_and_only_that() {
    let bench = open().await;
    // After the grace.
    create(&bench, 1, 5, 1, "phone").await;
    create(&bench, 101, 6, 1, "desk").await;
    assert_eq!(rotate(&bench, 1, 2, T0).await, Outcome::Rotated);
    assert_eq!(rotate(&bench, 1, 2, T0 + GRACE_MS + 1).await, Outcome::Reused);
    assert_eq!(rotate(&bench, 2, 3, T0 + 1).await, Outcome::Invalid);
    assert_eq!(rotate(&bench, 1, 2, T0 + 1).await, Outcome::Invalid);
    // Within the grace, but the successor was used.
    create(&bench, 11, 5, 1, "phone").await;
    assert_eq!(rotate(&bench, 11, 12, T0).await, Outcome::Rotated);
    assert_eq!(rotate(&bench, 12, 13, T0 + 1).await, Outcome::Rotated);
    assert_eq!(rotate(&bench, 11, 12, T0 + 2).await, Outcome::Reused);
    assert_eq!(rotate(&bench, 13, 14, T0 + 3).await, Outcome::Invalid);
    let request = RevokeRefreshTokensRequest { which: Some(Which::TokenHash(hash(101))) };
    let left = bench.users.clone().revoke_refresh_tokens(request).await.unwrap().into_inner().revoked;
    assert_eq!(left, 1, "the other login's family stands");
}

#[tokio::test]
async fn an_expired_token_is_worth_nothing() {
    let bench = open().await;
    create(&bench, 1, 5, 1, "phone").await;
    assert_eq!(rotate(&bench, 1, 2, T0 + LIFE_MS).await, Outcome::Invalid);
    assert_eq!(rotate(&bench, 1, 2, T0 + LIFE_MS - 1).await, Outcome::Rotated);
}

#[tokio::test]
async fn two_rotations_at_once_agree_on_one_successor() {
    let bench = open().await;
    create(&bench, 1, 5, 1, "phone").await;
    let (first, second) = tokio::join!(rotate(&bench, 1, 2, T0), rotate(&bench, 1, 2, T0 + 1));
    assert_eq!((first, second), (Outcome::Rotated, Outcome::Rotated));
    assert_eq!(rotate(&bench, 2, 3, T0 + 2).await, Outcome::Rotated);
}

#[tokio::test]
async fn revoking_by_token_device_and_user() {
    let bench = open().await;
    let revoke = |which| {
        let mut users = bench.users.clone();
        async move {
            let request = RevokeRefreshTokensRequest { which: Some(which) };
            users.revoke_refresh_tokens(request).await.unwrap().into_inner().revoked
        }
    };
    create(&bench, 1, 5, 1, "phone").await;
    rotate(&bench, 1, 2, T0).await;
    assert_eq!(revoke(Which::TokenHash(hash(2))).await, 2, "the whole family");
    assert_eq!(revoke(Which::TokenHash(hash(2))).await, 0);
    for (name, family, user, device) in
        [(11, 11, 1, "phone"), (12, 12, 1, "desk"), (13, 13, 2, "phone"), (14, 14, 1, "phone")]
    {
        create(&bench, name, family, user, device).await;
    }
    let device = UserDevice { user_id: 1, device_id: "phone".into() };
    assert_eq!(revoke(Which::Device(device)).await, 2);
    assert_eq!(revoke(Which::UserId(1)).await, 1);
    assert_eq!(revoke(Which::UserId(2)).await, 1);
}

#[tokio::test]
async fn expired_tokens_are_purged_in_portions() {
    let bench = open().await;
    for name in 1..=5 {
        create(&bench, name, name.into(), 1, "phone").await;
    }
    let purge = |expired_before_ms, limit| {
        let mut users = bench.users.clone();
        async move {
            let request = PurgeRefreshTokensRequest { expired_before_ms, limit };
            users.purge_refresh_tokens(request).await.unwrap().into_inner().deleted
        }
    };
    assert_eq!(purge(T0 + LIFE_MS, 10).await, 0);
    assert_eq!(purge(T0 + LIFE_MS + 1, 3).await, 3);
    assert_eq!(purge(T0 + LIFE_MS + 1, 3).await, 2);
}

#[tokio::test]
async fn made_up_and_expired_tokens_never_reach_the_writer() {
    let bench = open().await;
    create(&bench, 1, 5, 1, "phone").await;
    let transactions = || bench.repo.service.metrics.transactions_now();
    let before = transactions();
    assert_eq!(rotate(&bench, 9, 10, T0).await, Outcome::Invalid);
    assert_eq!(rotate(&bench, 1, 2, T0 + LIFE_MS).await, Outcome::Invalid);
    let request = RevokeRefreshTokensRequest { which: Some(Which::TokenHash(hash(9))) };
    let none = bench.users.clone().revoke_refresh_tokens(request).await.unwrap().into_inner();
    assert_eq!((none.revoked, transactions()), (0, before));
    assert_eq!(rotate(&bench, 1, 2, T0).await, Outcome::Rotated);
    assert_eq!(transactions(), before + 1);
}
