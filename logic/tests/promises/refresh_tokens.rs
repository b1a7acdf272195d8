//! Promise: a refresh token has one successor. The old one gives the same until that is used, and for the grace at
//! most; used later it ends the family. What is expired, unknown or ended gives nothing, and accuses nobody.
//!
//! Method: the calls of a gateway, at the same time, with answers lost, and with lives and graces of next to nothing.
use gochat_infra::errors::Code;
use gochat_logic::LogicConfig;
use gochat_proto::logic::v1::{BanUserRequest, LoginResponse, LogoutRequest, UnbanUserRequest};
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;
use gochat_proto::repo::v1::{UpdateUserRequest, UserStatus};

use crate::support::account::{code, login, refresh, register};
use crate::support::faults::Fault;
use crate::support::{House, Running};

const REUSED: &str = "logic_refresh_reused_total";

async fn signed_in(house: &House, change: impl FnOnce(&mut LogicConfig)) -> (Running, LoginResponse) {
    let mut config = house.config();
    change(&mut config);
    let running = house.start_with(config, house.ids.clone()).await;
    register(&running, "anna").await.unwrap();
    let session = login(&running, "anna", "correct horse").await.unwrap();
    (running, session)
}

async fn ended(running: &Running, token: &str) {
    assert_eq!(code(refresh(running, token).await.unwrap_err()), Code::Unauthenticated);
}

#[tokio::test]
async fn many_at_once_get_one_successor() {
    let house = House::open().await;
    let (running, first) = signed_in(&house, |_| {}).await;
    let mut calls = tokio::task::JoinSet::new();
    for _ in 0..16 {
        let (mut auth, token) = (running.auth(), first.refresh_token.clone());
        calls.spawn(async move {
            let request = gochat_proto::logic::v1::RefreshTokenRequest { refresh_token: token };
            auth.refresh_token(request).await.unwrap().into_inner().refresh_token
        });
    }
    let mut successors = calls.join_all().await;
    successors.dedup();
    assert_eq!(successors.len(), 1);
    assert_ne!(successors[0], first.refresh_token);
    refresh(&running, &successors[0]).await.unwrap();
    assert_eq!(running.metric(REUSED), 0.0);
    running.stop().await;
}

#[tokio::test]
async fn a_lost_answer_is_asked_for_again() {
    let house = House::open().await;
    let (running, first) = signed_in(&house, |_| {}).await;
    house.faults.plan("RotateRefreshToken", 2, Fault::LoseAnswer);
    for _ in 0..2 {
        assert_eq!(code(refresh(&running, &first.refresh_token).await.unwrap_err()), Code::Timeout);
    }
    let second = refresh(&running, &first.refresh_token).await.unwrap();
    let again = refresh(&running, &first.refresh_token).await.unwrap();
    assert_eq!(second.refresh_token, again.refresh_token);
    refresh(&running, &second.refresh_token).await.unwrap();
    assert_eq!(running.metric(REUSED), 0.0);
    running.stop().await;
}

#[tokio::test]
async fn after_the_grace_it_is_reuse_though_the_successor_was_never_used() {
    let house = House::open().await;
    let (running, first) = signed_in(&house, |config| config.auth.refresh_grace_ms = 1).await;
    let second = refresh(&running, &first.refresh_token).await.unwrap();
    // Within the grace the same one, then nothing any more.
    while let Ok(again) = refresh(&running, &first.refresh_token).await {
        assert_eq!(again.refresh_token, second.refresh_token);
    }
    assert_eq!(running.metric(REUSED), 1.0);
    ended(&running, &second.refresh_token).await;
    // The family is gone, so there is nothing left to accuse anybody of.
    ended(&running, &first.refresh_token).await;
    assert_eq!(running.metric(REUSED), 1.0);
    running.stop().await;
}

#[tokio::test]
async fn two_generations_back_is_reuse_and_other_logins_stay() {
    let house = House::open().await;
    let (running, first) = signed_in(&house, |_| {}).await;
    let other = login(&running, "anna", "correct horse").await.unwrap();
    let second = refresh(&running, &first.refresh_token).await.unwrap();
    let third = refresh(&running, &second.refresh_token).await.unwrap();
    let fourth = refresh(&running, &third.refresh_token).await.unwrap();
    ended(&running, &first.refresh_token).await;
    assert_eq!(running.metric(REUSED), 1.0);
    for token in [&second, &third, &fourth] {
        ended(&running, &token.refresh_token).await;
    }
    refresh(&running, &other.refresh_token).await.unwrap();
    running.stop().await;
}

#[tokio::test]
async fn what_has_expired_or_was_never_given_out_gives_nothing() {
    let house = House::open().await;
    let (running, first) = signed_in(&house, |config| config.auth.refresh_token_s = 0).await;
    ended(&running, &first.refresh_token).await;
    ended(&running, &"A".repeat(43)).await;
    ended(&running, "").await;
    ended(&running, &first.access_token).await;
    // Of another server.
    let elsewhere = House::open().await;
    let (other, foreign) = signed_in(&elsewhere, |_| {}).await;
    ended(&running, &foreign.refresh_token).await;
    refresh(&other, &foreign.refresh_token).await.unwrap();
    assert_eq!(running.metric(REUSED), 0.0);
    other.stop().await;
    running.stop().await;
}

#[tokio::test]
async fn after_a_logout_or_a_ban_neither_the_token_nor_its_successor_works() {
    let house = House::open().await;
    let (running, first) = signed_in(&house, |_| {}).await;
    let second = refresh(&running, &first.refresh_token).await.unwrap();
    let logout = LogoutRequest {
        user_id: first.user_id,
        device_id: first.device_id.clone(),
        refresh_token: first.refresh_token.clone(),
    };
    running.auth().logout(logout).await.unwrap();
    ended(&running, &first.refresh_token).await;
    ended(&running, &second.refresh_token).await;

    let third = login(&running, "anna", "correct horse").await.unwrap();
    running.accounts().ban_user(BanUserRequest { username: "anna".into() }).await.unwrap();
    running.accounts().unban_user(UnbanUserRequest { username: "anna".into() }).await.unwrap();
    ended(&running, &third.refresh_token).await;
    assert_eq!(running.metric(REUSED), 0.0);
    running.stop().await;
}

#[tokio::test]
async fn a_status_that_forbids_it_is_told() {
    let house = House::open().await;
    let (running, first) = signed_in(&house, |_| {}).await;
    for status in [UserStatus::Banned, UserStatus::Inactive] {
        let user_id = first.user_id;
        let update = UpdateUserRequest { user_id, status: Some(status.into()), ..Default::default() };
        UserRepoClient::new(house.direct.clone()).update_user(update).await.unwrap();
        let refused = refresh(&running, &first.refresh_token).await.unwrap_err();
        assert_eq!(code(refused), Code::PermissionDenied);
    }
    running.stop().await;
}
