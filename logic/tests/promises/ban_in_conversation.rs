//! Promise: a ban in the middle of a conversation loses nothing that was accepted before it, and the other one goes on.
//!
//! Method: the ban falls between the queue's taking a message and its save.
use gochat_infra::errors::Code;
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::logic::v1::BanUserRequest;
use gochat_proto::queue::v1::UserEvent;
use gochat_proto::topics;

use crate::support::account::{code, login, register};
use crate::support::faults::{Door, Fault};
use crate::support::{House, session};
use gochat_proto::logic::v1::ReportSessionsRequest;
use gochat_proto::repo::v1::session_change::Kind;

#[tokio::test]
async fn what_was_accepted_is_stored_and_delivered() {
    let house = House::open().await;
    let mut inbox = house.inbox(0);
    let running = house.start().await;
    let anna = register(&running, "anna").await.unwrap();
    let ben = register(&running, "ben-the-other").await.unwrap();
    let report = ReportSessionsRequest { changes: vec![session(ben, 0, Kind::Set)] };
    running.sessions().report_sessions(report).await.unwrap();
    let pair = format!("single_{}_{}", anna.min(ben), anna.max(ben));
    house.send(anna, &pair, "before", "hi").await;
    inbox.stored("before").await;

    let mut events = house.events::<UserEvent>(topics::EVENTS_USER);
    let door = Door::closed();
    house.faults.plan("SaveMessages", 1, Fault::Hold(door.clone()));
    house.send(anna, &pair, "accepted", "last words").await;
    door.arrival().await;
    running.accounts().ban_user(BanUserRequest { username: "anna".into() }).await.unwrap();
    let event = events.next().await;
    assert_eq!((event.user_id, event.reason()), (anna, RevokeReason::Banned));
    door.open();
    assert_eq!(inbox.stored("accepted").await.1, 2);
    assert_eq!(inbox.delivery("accepted").await.1, [ben]);
    house.send(ben, &pair, "after", "hello?").await;
    assert_eq!(inbox.stored("after").await.1, 3);
    assert_eq!(code(login(&running, "anna", "correct horse").await.unwrap_err()), Code::PermissionDenied);
    running.stop().await;
    assert_eq!(house.dense(&pair).await.len(), 3);
}
