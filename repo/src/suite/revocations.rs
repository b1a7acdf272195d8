//! Revocations: written with their cause or not at all, read in order, gone when nothing needs them.
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::repo::v1::revocation_repo_client::RevocationRepoClient;
use rotate_refresh_token_response::Outcome;

use super::tokens::{create, hash};
use super::*;
use crate::store::unix_ms;

const EXPIRES: i64 = T0 + 1_000_000;

fn revocation(user_id: u64, device: &str) -> Revocation {
    Revocation {
        revocation_id: 0,
        user_id,
        device_id: device.into(),
        issued_until_ms: T0,
        reason: RevokeReason::Logout.into(),
        expires_at_ms: EXPIRES,
    }
}

/// Of all devices.
pub(super) fn of_user(user_id: u64) -> RevokeRequest {
    only(revocation(user_id, ""))
}

fn only(revocation: Revocation) -> RevokeRequest {
    RevokeRequest { revocation: Some(revocation), ..Default::default() }
}

async fn revoke(bench: &Bench, request: RevokeRequest) -> Result<RevokeResponse, tonic::Status> {
    Ok(RevocationRepoClient::new(bench.client.clone()).revoke(request).await?.into_inner())
}

/// What is listed after an id at a moment, in pages of this size.
async fn list(bench: &Bench, after: u64, now_ms: i64, limit: u32) -> Vec<Revocation> {
    let mut client = RevocationRepoClient::new(bench.client.clone());
    let (mut after_revocation_id, mut all) = (after, Vec::new());
    loop {
        let request = ListRevocationsRequest { after_revocation_id, now_ms, limit };
        let page = client.list_revocations(request).await.unwrap().into_inner();
        assert!(page.revocations.len() <= limit as usize);
        all.extend(page.revocations);
        if !page.has_more {
            return all;
        }
        after_revocation_id = all.last().unwrap().revocation_id;
    }
}

async fn purge(bench: &Bench, expired_before_ms: i64, limit: u32) -> u64 {
    let request = PurgeRevocationsRequest { expired_before_ms, limit };
    let mut client = RevocationRepoClient::new(bench.client.clone());
    client.purge_revocations(request).await.unwrap().into_inner().deleted
}

async fn tokens_of(bench: &Bench, user_id: u64) -> u64 {
    let which = Some(revoke_refresh_tokens_request::Which::UserId(user_id));
    let request = RevokeRefreshTokensRequest { which };
    bench.users.clone().revoke_refresh_tokens(request).await.unwrap().into_inner().revoked
}

#[tokio::test]
async fn a_ban_changes_the_user_ends_his_tokens_and_is_listed() {
    let bench = open().await;
    assert_eq!(bench.user(1).await.status(), UserStatus::Active, "and it is in the cache now");
    create(&bench, 1, 1, 1, "phone").await;
    create(&bench, 2, 2, 1, "desk").await;
    create(&bench, 3, 3, 2, "phone").await;
    let ban = Revocation { reason: RevokeReason::Banned.into(), ..revocation(1, "") };
    let request =
        RevokeRequest { refresh_tokens: true, status: Some(UserStatus::Banned.into()), ..only(ban.clone()) };
    let before = unix_ms();
    let answer = revoke(&bench, request).await.unwrap();
    assert!(answer.issued_until_ms >= before, "a token issued meanwhile is concerned too");
    let listed = list(&bench, 0, T0, 10).await;
    let RevokeResponse { revocation_id, issued_until_ms, .. } = answer;
    assert_eq!(listed, [Revocation { revocation_id, issued_until_ms, ..ban }]);
    assert_eq!(bench.user(1).await.status(), UserStatus::Banned, "not what the cache had");
    assert_eq!((tokens_of(&bench, 1).await, tokens_of(&bench, 2).await), (0, 1));
}

#[tokio::test]
async fn a_new_password_is_stored_with_the_end_of_the_old_tokens() {
    let bench = open().await;
    create(&bench, 1, 1, 1, "phone").await;
    let changed = Revocation { reason: RevokeReason::PasswordChanged.into(), ..revocation(1, "") };
    let request = RevokeRequest { refresh_tokens: true, password_hash: Some("new".into()), ..only(changed) };
    revoke(&bench, request).await.unwrap();
    let request = GetUserRequest { user_id: 1, with_password_hash: true };
    let user = bench.users.clone().get_user(request).await.unwrap().into_inner().user.unwrap();
    assert_eq!((&user.password_hash[..], user.status()), ("new", UserStatus::Active));
    assert_eq!(tokens_of(&bench, 1).await, 0);
}

#[tokio::test]
async fn a_logout_ends_the_tokens_of_its_device_only() {
    let bench = open().await;
    create(&bench, 1, 1, 1, "phone").await;
    create(&bench, 2, 2, 1, "desk").await;
    let request = RevokeRequest { refresh_tokens: true, ..only(revocation(1, "phone")) };
    revoke(&bench, request).await.unwrap();
    assert_eq!(tokens_of(&bench, 1).await, 1);
    // Without `refresh_tokens` they stay.
    create(&bench, 3, 3, 1, "phone").await;
    revoke(&bench, only(revocation(1, "phone"))).await.unwrap();
    assert_eq!(tokens_of(&bench, 1).await, 1);
}

#[tokio::test]
async fn when_the_commit_fails_neither_cause_nor_revocation_is_there() {
    let bench = open().await;
    create(&bench, 1, 1, 1, "phone").await;
    bench.repo.service.store.faults().fail_commits(1);
    let request = RevokeRequest {
        refresh_tokens: true,
        status: Some(UserStatus::Banned.into()),
        ..only(revocation(1, ""))
    };
    let failed = revoke(&bench, request).await.unwrap_err();
    assert_eq!(Error::from(failed).code, Code::Unavailable);
    assert_eq!(list(&bench, 0, T0, 10).await, []);
    assert_eq!(bench.user(1).await.status(), UserStatus::Active);
    assert_eq!(tokens_of(&bench, 1).await, 1);
}

#[tokio::test]
async fn a_reuse_and_its_revocation_are_one() {
    let bench = open().await;
    create(&bench, 1, 5, 1, "phone").await;
    let rotate = |now_ms, revocation_expires_at_ms| {
        let mut users = bench.users.clone();
        let request = RotateRefreshTokenRequest {
            token_hash: hash(1),
            successor_hash: hash(2),
            successor_expires_at_ms: EXPIRES,
            now_ms,
            grace_ms: 1_000,
            revocation_expires_at_ms,
        };
        async move { users.rotate_refresh_token(request).await }
    };
    let first = rotate(T0, Some(EXPIRES)).await.unwrap().into_inner();
    assert_eq!((first.outcome(), first.revocation), (Outcome::Rotated, None));
    bench.repo.service.store.faults().fail_commits(1);
    assert_eq!(code(rotate(T0 + 2_000, Some(EXPIRES)).await), Code::Unavailable);
    assert_eq!(list(&bench, 0, T0, 10).await, []);
    let reused = rotate(T0 + 2_000, Some(EXPIRES)).await.unwrap().into_inner();
    assert_eq!(reused.outcome(), Outcome::Reused);
    let listed = list(&bench, 0, T0, 10).await;
    assert_eq!(reused.revocation.as_slice(), listed);
    let of = (listed[0].user_id, &listed[0].device_id[..], listed[0].reason());
    assert_eq!(of, (1, "phone", RevokeReason::TokenReused));
}

#[tokio::test]
async fn the_list_is_by_id_and_leaves_out_what_expired() {
    let bench = open().await;
    for user in 1..=7 {
        // Every second one expires early.
        let early = i64::from(user % 2 == 0);
        let expires_at_ms = EXPIRES - early * 500_000;
        revoke(&bench, only(Revocation { expires_at_ms, ..revocation(user, "phone") })).await.unwrap();
    }
    let users = |list: Vec<Revocation>| list.iter().map(|entry| entry.user_id).collect::<Vec<_>>();
    for limit in [1, 2, 100] {
        let all = list(&bench, 0, T0, limit).await;
        assert!(all.is_sorted_by_key(|entry| entry.revocation_id));
        let third = all[2].revocation_id;
        assert_eq!(users(all), [1, 2, 3, 4, 5, 6, 7]);
        assert_eq!(users(list(&bench, third, T0, limit).await), [4, 5, 6, 7]);
        assert_eq!(users(list(&bench, 0, EXPIRES - 500_000, limit).await), [1, 3, 5, 7]);
        assert_eq!(list(&bench, 0, EXPIRES, limit).await, []);
        assert_eq!(list(&bench, u64::MAX, T0, limit).await, []);
    }
}

#[tokio::test]
async fn purging_goes_in_portions_and_no_id_comes_back() {
    let bench = open().await;
    let mut last = 0;
    for user in 1..=5 {
        last = revoke(&bench, only(revocation(user, ""))).await.unwrap().revocation_id;
    }
    assert_eq!(purge(&bench, EXPIRES, 10).await, 0, "what expires now is still listed a moment before");
    assert_eq!(purge(&bench, EXPIRES + 1, 3).await, 3);
    assert_eq!(purge(&bench, EXPIRES + 1, 3).await, 2);
    let next = revoke(&bench, only(revocation(1, ""))).await.unwrap().revocation_id;
    assert!(next > last, "a reader that has seen {last} would miss {next}");
}

#[tokio::test]
async fn revocations_of_bad_form_are_refused() {
    let bench = open().await;
    let check = async |request: RevokeRequest, expect| {
        let refused = revoke(&bench, request.clone()).await.unwrap_err();
        assert_eq!(Error::from(refused).code, expect, "{request:?}");
    };
    check(RevokeRequest::default(), Code::InvalidInput).await;
    check(only(revocation(0, "")), Code::InvalidInput).await;
    check(only(revocation(99, "")), Code::UserNotFound).await;
    check(only(Revocation { reason: 0, ..revocation(1, "") }), Code::InvalidInput).await;
    check(only(Revocation { expires_at_ms: T0, ..revocation(1, "") }), Code::InvalidInput).await;
    assert_eq!(list(&bench, 0, T0, 10).await, []);
}

#[tokio::test]
async fn a_moment_far_ahead_of_the_clock_is_lowered() {
    let bench = open().await;
    let ahead_max_ms = LimitsConfig::default().revocation_ahead_max_ms;
    for (ahead_ms, stored_ahead_ms) in [(ahead_max_ms / 2, ahead_max_ms / 2), (i64::MAX / 2, ahead_max_ms)] {
        let before = unix_ms();
        let issued_until_ms = before + ahead_ms;
        let asked = Revocation { issued_until_ms, expires_at_ms: issued_until_ms + 7, ..revocation(1, "") };
        let stored = revoke(&bench, only(asked)).await.unwrap();
        let expect = before + stored_ahead_ms..=unix_ms() + stored_ahead_ms;
        assert!(expect.contains(&stored.issued_until_ms), "{} in {expect:?}", stored.issued_until_ms);
        assert_eq!(stored.expires_at_ms, stored.issued_until_ms + 7);
    }
    // What is issued now comes after them.
    let request = CreateRefreshTokenRequest {
        token: Some(RefreshToken {
            token_hash: hash(1),
            family_id: 1,
            user_id: 1,
            device_id: "phone".into(),
            expires_at_ms: i64::MAX,
        }),
    };
    let issued = bench.users.clone().create_refresh_token(request).await.unwrap().into_inner().issued_at_ms;
    let known = list(&bench, 0, T0, 10).await;
    assert_eq!(Some(issued), known.iter().map(|one| one.issued_until_ms + 1).max());
}
