//! Promise: a stored message reaches every device of those concerned, the sender's own included; each gateway gets one
//! record a message. Where routes cannot be read, those concerned are told to compare heads.
//!
//! Method: users on two gateways, offline, and on gateways that are gone; world; route look-ups that fail.
use gochat_infra::rpc::Client;
use gochat_proto::logic::v1::ReportSessionsRequest;
use gochat_proto::repo::v1::SetUserSessionRequest;
use gochat_proto::repo::v1::session_change::Kind;
use gochat_proto::repo::v1::user_repo_client::UserRepoClient;

use crate::support::faults::Fault;
use crate::support::{House, session};

const PAIR: &str = "single_1_2";

#[tokio::test]
async fn every_device_of_both_users_is_reached_by_one_record_a_gateway() {
    let house = House::open().await;
    house.seed_users(2).await;
    house.connect(1, 0).await;
    house.connect(1, 1).await;
    house.connect(2, 1).await;
    let (mut g0, mut g1) = (house.inbox(0), house.inbox(1));
    let running = house.start().await;
    house.send(1, PAIR, "a", "hi").await;
    let (message, users) = g0.delivery("a").await;
    assert_eq!((message.content.as_str(), users), ("hi", vec![1]));
    assert_eq!(g1.delivery("a").await.1, [1, 2]);
    g0.stored("a").await;
    // Exactly one record each: what comes next is the next message.
    house.send(2, PAIR, "b", "yo").await;
    g0.delivery("b").await;
    g1.delivery("b").await;
    assert_eq!(running.metric(r#"logic_downstream_sent_total{kind="message"}"#), 4.0);
    running.stop().await;
}

#[tokio::test]
async fn world_is_one_record_for_each_gateway() {
    let house = House::open().await;
    house.seed_users(1).await;
    let (mut g0, mut g1) = (house.inbox(0), house.inbox(1));
    let running = house.start().await;
    house.send(1, "world", "a", "hello").await;
    assert!(g0.delivery("a").await.1.is_empty());
    assert!(g1.delivery("a").await.1.is_empty());
    assert_eq!(running.metric(r#"logic_downstream_sent_total{kind="message"}"#), 2.0);
    running.stop().await;
}

#[tokio::test]
async fn sessions_that_ended_without_a_word_are_passed_over() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut expired = session(2, 0, Kind::Set);
    expired.session.as_mut().unwrap().expires_at_ms = 1;
    let mut gone = session(2, 1, Kind::Set);
    gone.session.as_mut().unwrap().gateway_instance = "a-gateway-of-yesterday".into();
    let request = SetUserSessionRequest { changes: vec![expired, gone] };
    UserRepoClient::<Client>::new(house.direct.clone()).set_user_session(request).await.unwrap();
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    house.send(1, PAIR, "a", "hi").await;
    inbox.stored("a").await;
    house.send(1, "world", "b", "hi").await;
    inbox.delivery("b").await;
    assert_eq!(running.metric(r#"logic_downstream_sent_total{kind="message"}"#), 2.0, "only world's");
    running.stop().await;
}

#[tokio::test]
async fn a_session_that_was_reported_is_routed_at_once() {
    let house = House::open().await;
    house.seed_users(2).await;
    let (mut g0, mut g1) = (house.inbox(0), house.inbox(1));
    let running = house.start().await;
    // Cached as offline first.
    house.send(1, PAIR, "a", "hi").await;
    g0.stored("a").await;
    let report = |kind| ReportSessionsRequest { changes: vec![session(2, 1, kind)] };
    running.sessions().report_sessions(report(Kind::Set)).await.unwrap();
    house.send(1, PAIR, "b", "hi").await;
    assert_eq!(g1.delivery("b").await.1, [2]);
    running.sessions().report_sessions(report(Kind::Delete)).await.unwrap();
    house.send(1, PAIR, "c", "hi").await;
    g0.stored("c").await;
    house.send(1, "world", "d", "hi").await;
    g1.delivery("d").await;
    assert_eq!(running.metric(r#"logic_downstream_sent_total{kind="message"}"#), 3.0);
    running.stop().await;
}

#[tokio::test]
async fn without_routes_those_concerned_compare_heads() {
    let house = House::open().await;
    house.seed_users(2).await;
    let (mut g0, mut g1) = (house.inbox(0), house.inbox(1));
    house.faults.plan("GetUserSessions", 1, Fault::Refuse);
    let running = house.start().await;
    house.send(1, PAIR, "a", "hi").await;
    // The message is stored and acked all the same.
    assert_eq!(g0.stored("a").await.1, 1);
    for inbox in [&mut g0, &mut g1] {
        let mut resync = inbox.resync().await;
        resync.user_ids.sort_unstable();
        assert_eq!(resync.user_ids, [1, 2]);
        assert!(resync.spread_ms > 0);
    }
    running.stop().await;
}
