//! Promise: when the clock goes back, a token that is issued after a revocation is good, a token that is issued before
//! one is not, and a device's tokens stay in order.
//!
//! Method: a revocation by a clock that was half an hour ahead is put into the store, which is all that such a clock
//! leaves behind. A checker compares tokens and revocations as a gateway does, and is tried on what is wrong.
use gochat_infra::token::Claims;
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::logic::v1::{BanUserRequest, LoginResponse, LogoutRequest, UnbanUserRequest};
use gochat_proto::repo::v1::revocation_repo_client::RevocationRepoClient;
use gochat_proto::repo::v1::{ListRevocationsRequest, Revocation, RevokeRequest};

use crate::support::account::{login, login_on, refresh, register};
use crate::support::{House, unix_ms};

const AHEAD_MS: i64 = 1_800_000;
const LIFE_MS: i64 = 900_000;

/// Whether a gateway takes the token: the rule of its `Revocation::concerns`.
fn is_good(claims: &Claims, revocations: &[Revocation]) -> bool {
    !revocations.iter().any(|revocation| {
        revocation.user_id == claims.sub
            && (revocation.device_id.is_empty() || revocation.device_id == claims.device)
            && claims.iat_ms as i64 <= revocation.issued_until_ms
    })
}

fn claims(house: &House, session: &LoginResponse) -> Claims {
    let claims = house.keys.verify(&session.access_token, unix_ms() as u64 / 1000).unwrap();
    // Its end does not go ahead with its beginning.
    assert!((claims.exp as i64) * 1000 <= unix_ms() + LIFE_MS);
    claims
}

async fn revocations(house: &House) -> Vec<Revocation> {
    let request = ListRevocationsRequest { after_revocation_id: 0, now_ms: unix_ms(), limit: 100 };
    let mut client = RevocationRepoClient::new(house.direct.clone());
    client.list_revocations(request).await.unwrap().into_inner().revocations
}

/// What a log-out, or a ban without a device, by a clock that is ahead leaves behind.
async fn revoked_ahead(house: &House, user_id: u64, device_id: &str) -> i64 {
    let issued_until_ms = unix_ms() + AHEAD_MS;
    let revocation = Revocation {
        revocation_id: 0,
        user_id,
        device_id: device_id.into(),
        issued_until_ms,
        reason: RevokeReason::Logout.into(),
        expires_at_ms: issued_until_ms + LIFE_MS,
    };
    let request = RevokeRequest { revocation: Some(revocation), refresh_tokens: true, ..Default::default() };
    let mut client = RevocationRepoClient::new(house.direct.clone());
    assert_eq!(client.revoke(request).await.unwrap().into_inner().issued_until_ms, issued_until_ms);
    issued_until_ms
}

#[tokio::test]
async fn a_login_after_a_revocation_is_good_though_the_clock_went_back() {
    for device in ["", "phone"] {
        let house = House::open().await;
        let running = house.start().await;
        let user_id = register(&running, "anna").await.unwrap();
        let before = login_on(&running, "anna", "phone").await;
        let until_ms = revoked_ahead(&house, user_id, device).await;
        let after = login_on(&running, "anna", "phone").await;
        let known = revocations(&house).await;
        assert!(!is_good(&claims(&house, &before), &known));
        assert!(is_good(&claims(&house, &after), &known), "born revoked");
        assert!(claims(&house, &after).iat_ms as i64 > until_ms);
        // And what replaces it, again and again.
        let next = refresh(&running, &after.refresh_token).await.unwrap();
        let same = refresh(&running, &after.refresh_token).await.unwrap();
        let last = refresh(&running, &same.refresh_token).await.unwrap();
        let [after, next, same, last] = [after, next, same, last].map(|session| claims(&house, &session));
        for later in [&next, &same, &last] {
            assert!(is_good(later, &known));
            assert!(later.iat_ms >= after.iat_ms, "a gateway would take it for an older one");
        }
        running.stop().await;
    }
}

#[tokio::test]
async fn a_token_ends_though_the_clock_went_back_after_its_issue() {
    let house = House::open().await;
    let running = house.start().await;
    let user_id = register(&running, "anna").await.unwrap();
    revoked_ahead(&house, user_id, "").await;
    // These are issued ahead of the clock.
    let phone = login_on(&running, "anna", "phone").await;
    let desk = login_on(&running, "anna", "desk").await;
    let logout = |refresh_token: &str| LogoutRequest {
        user_id,
        device_id: "phone".into(),
        refresh_token: refresh_token.into(),
    };
    running.auth().logout(logout(&phone.refresh_token)).await.unwrap();
    let known = revocations(&house).await;
    assert!(!is_good(&claims(&house, &phone), &known), "outlives its log-out");
    assert!(is_good(&claims(&house, &desk), &known));
    let last = known.last().unwrap();
    assert!(last.expires_at_ms >= last.issued_until_ms + LIFE_MS, "it is forgotten before the tokens end");

    let again = login_on(&running, "anna", "phone").await;
    assert!(is_good(&claims(&house, &again), &revocations(&house).await), "born revoked");
    running.accounts().ban_user(BanUserRequest { username: "anna".into() }).await.unwrap();
    let known = revocations(&house).await;
    for session in [&again, &desk] {
        assert!(!is_good(&claims(&house, session), &known), "outlives a ban");
    }
    running.accounts().unban_user(UnbanUserRequest { username: "anna".into() }).await.unwrap();
    let back = login(&running, "anna", "correct horse").await.unwrap();
    assert!(is_good(&claims(&house, &back), &revocations(&house).await));
    running.stop().await;
}

#[tokio::test]
async fn the_reuse_of_a_token_issued_ahead_ends_its_device() {
    let house = House::open().await;
    let running = house.start().await;
    let user_id = register(&running, "anna").await.unwrap();
    revoked_ahead(&house, user_id, "").await;
    let first = login_on(&running, "anna", "phone").await;
    let second = refresh(&running, &first.refresh_token).await.unwrap();
    let third = refresh(&running, &second.refresh_token).await.unwrap();
    refresh(&running, &first.refresh_token).await.unwrap_err();
    let known = revocations(&house).await;
    assert!(!is_good(&claims(&house, &third), &known));
    let again = login_on(&running, "anna", "phone").await;
    assert!(is_good(&claims(&house, &again), &known));
    running.stop().await;
}

#[test]
fn tokens_that_are_revoked_are_told_from_good_ones() {
    let token = |iat_ms| Claims { sub: 1, device: "phone".into(), iat_ms, exp: 9 };
    let of = |user_id, device: &str| Revocation {
        user_id,
        device_id: device.into(),
        issued_until_ms: 100,
        ..Default::default()
    };
    assert!(!is_good(&token(100), &[of(1, "desk"), of(1, "")]));
    assert!(!is_good(&token(100), &[of(1, "phone")]));
    assert!(is_good(&token(101), &[of(1, "phone"), of(1, "")]));
    assert!(is_good(&token(100), &[of(2, ""), of(1, "desk")]));
}
