//! Promise: a log-out, a ban, a new password and the reuse of a refresh token end the access tokens that exist; each
//! is stored for gateways that start, and told to those that run. What is issued afterwards is not concerned.
//!
//! Method: the services as a gateway calls them, the topic of user events, and calls held or made to fail in between.
use gochat_infra::errors::Code;
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::logic::v1::{
    BanUserRequest, ChangePasswordRequest, LoginResponse, LogoutRequest, UnbanUserRequest,
};
use gochat_proto::queue::v1::UserEvent;
use gochat_proto::queue::v1::user_event::Kind;
use gochat_proto::repo::v1::{ListRevocationsRequest, Revocation};
use gochat_proto::topics;

use crate::support::account::{code, login, refresh, register};
use crate::support::faults::{Door, Fault};
use crate::support::inbox::EventLog;
use crate::support::{House, Running, unix_ms};

async fn listed(running: &Running) -> Vec<Revocation> {
    let request = ListRevocationsRequest { after_revocation_id: 0, now_ms: unix_ms(), limit: 100 };
    running.revocations().list_revocations(request).await.unwrap().into_inner().revocations
}

/// The next event is the revocation that is stored last.
async fn told(events: &mut EventLog<UserEvent>, running: &Running) -> Revocation {
    let event = events.next().await;
    assert_eq!(event.kind(), Kind::Revoked, "{event:?}");
    let stored = listed(running).await.pop().unwrap();
    let of_event = Revocation {
        revocation_id: event.revocation_id,
        user_id: event.user_id,
        device_id: event.device_id,
        issued_until_ms: event.issued_until_ms,
        reason: event.reason,
        expires_at_ms: event.expires_at_ms,
    };
    assert_eq!(of_event, stored);
    stored
}

fn ends(revocation: &Revocation, house: &House, session: &LoginResponse) -> bool {
    let claims = house.keys.verify(&session.access_token, unix_ms() as u64 / 1000).unwrap();
    // Kept until no gateway takes the token any more: its end, and a grace of one minute.
    assert!(revocation.expires_at_ms >= (claims.exp as i64 + 60) * 1000);
    claims.sub == revocation.user_id
        && (revocation.device_id.is_empty() || revocation.device_id == claims.device)
        && claims.iat_ms as i64 <= revocation.issued_until_ms
}

#[tokio::test]
async fn a_logout_ends_its_device_only() {
    let house = House::open().await;
    let running = house.start().await;
    let mut events = house.events::<UserEvent>(topics::EVENTS_USER);
    let user_id = register(&running, "anna").await.unwrap();
    let phone = login(&running, "anna", "correct horse").await.unwrap();
    let desk = login(&running, "anna", "correct horse").await.unwrap();
    for session in [&phone, &desk] {
        let event = events.next().await;
        assert_eq!((event.kind(), &event.device_id), (Kind::Login, &session.device_id));
    }
    let logout =
        |device_id: &str| LogoutRequest { user_id, device_id: device_id.into(), ..Default::default() };
    running.auth().logout(logout(&phone.device_id)).await.unwrap();
    let revocation = told(&mut events, &running).await;
    assert_eq!(revocation.reason(), RevokeReason::Logout);
    assert!(ends(&revocation, &house, &phone) && !ends(&revocation, &house, &desk));
    assert_eq!(events.next().await.kind(), Kind::Logout);
    assert_eq!(code(refresh(&running, &phone.refresh_token).await.unwrap_err()), Code::Unauthenticated);
    let desk = refresh(&running, &desk.refresh_token).await.unwrap();
    assert!(!ends(&revocation, &house, &desk));
    // Without a device it would end all of them.
    assert_eq!(code(running.auth().logout(logout("")).await.unwrap_err()), Code::InvalidInput);
    assert_eq!(listed(&running).await.len(), 1);
    running.stop().await;
}

#[tokio::test]
async fn a_ban_ends_everything_and_lasts_until_it_is_lifted() {
    let house = House::open().await;
    let running = house.start().await;
    let user_id = register(&running, "anna").await.unwrap();
    let session = login(&running, "anna", "correct horse").await.unwrap();
    let mut events = house.events::<UserEvent>(topics::EVENTS_USER);
    async fn answered<T>(call: impl Future<Output = Result<tonic::Response<T>, tonic::Status>>) -> T {
        call.await.unwrap().into_inner()
    }
    let mut accounts = running.accounts();
    let first = accounts.ban_user(BanUserRequest { username: "ANNA".into() }).await.unwrap().into_inner();
    assert_eq!((first.user_id, first.changed), (user_id, true));
    let revocation = told(&mut events, &running).await;
    assert_eq!((revocation.reason(), revocation.device_id.as_str()), (RevokeReason::Banned, ""));
    assert!(ends(&revocation, &house, &session));
    assert_eq!(code(refresh(&running, &session.refresh_token).await.unwrap_err()), Code::Unauthenticated);
    let refused = login(&running, "anna", "correct horse").await.unwrap_err();
    assert_eq!(code(refused), Code::PermissionDenied);

    let mut accounts = running.accounts();
    let again = answered(accounts.ban_user(BanUserRequest { username: "anna".into() })).await;
    assert!(!again.changed);
    let last = told(&mut events, &running).await;
    let mut accounts = running.accounts();
    let lifted = answered(accounts.unban_user(UnbanUserRequest { username: "anna".into() })).await;
    assert_eq!((lifted.user_id, lifted.changed), (user_id, true));
    let lifted = answered(accounts.unban_user(UnbanUserRequest { username: "anna".into() })).await;
    assert!(!lifted.changed);
    let back = login(&running, "anna", "correct horse").await.unwrap();
    assert!(!ends(&last, &house, &back) && !ends(&revocation, &house, &back));
    assert_eq!(code(refresh(&running, &session.refresh_token).await.unwrap_err()), Code::Unauthenticated);

    let unknown = accounts.ban_user(BanUserRequest { username: "nobody".into() }).await.unwrap_err();
    assert_eq!(code(unknown), Code::UserNotFound);
    let unknown = accounts.unban_user(UnbanUserRequest { username: "nobody".into() }).await.unwrap_err();
    assert_eq!(code(unknown), Code::UserNotFound);
    running.stop().await;
}

#[tokio::test]
async fn a_new_password_ends_every_device_and_the_next_login_counts() {
    let house = House::open().await;
    let running = house.start().await;
    let user_id = register(&running, "anna").await.unwrap();
    let sessions = [
        login(&running, "anna", "correct horse").await.unwrap(),
        login(&running, "anna", "correct horse").await.unwrap(),
    ];
    let mut events = house.events::<UserEvent>(topics::EVENTS_USER);
    let change = ChangePasswordRequest {
        user_id,
        old_password: "correct horse".into(),
        new_password: "new battery".into(),
    };
    running.auth().change_password(change).await.unwrap();
    let revocation = told(&mut events, &running).await;
    assert_eq!(revocation.reason(), RevokeReason::PasswordChanged);
    assert!(sessions.iter().all(|session| ends(&revocation, &house, session)));
    let new = login(&running, "anna", "new battery").await.unwrap();
    assert!(!ends(&revocation, &house, &new));
    running.stop().await;
}

#[tokio::test]
async fn reuse_of_a_refresh_token_ends_its_device() {
    let house = House::open().await;
    let running = house.start().await;
    register(&running, "anna").await.unwrap();
    let first = login(&running, "anna", "correct horse").await.unwrap();
    let other = login(&running, "anna", "correct horse").await.unwrap();
    let second = refresh(&running, &first.refresh_token).await.unwrap();
    let third = refresh(&running, &second.refresh_token).await.unwrap();
    let mut events = house.events::<UserEvent>(topics::EVENTS_USER);
    assert_eq!(code(refresh(&running, &first.refresh_token).await.unwrap_err()), Code::Unauthenticated);
    let revocation = told(&mut events, &running).await;
    assert_eq!(revocation.reason(), RevokeReason::TokenReused);
    assert!(ends(&revocation, &house, &third) && !ends(&revocation, &house, &other));
    refresh(&running, &other.refresh_token).await.unwrap();
    assert_eq!(running.metric(r#"logic_revocations_total{reason="token-reused"}"#), 1.0);
    running.stop().await;
}

/// A login has read the account; before it has its refresh token, the account changes.
async fn overtaken_by(change: impl AsyncFn(&Running, u64), expect: Code) {
    let house = House::open().await;
    let running = house.start().await;
    let user_id = register(&running, "anna").await.unwrap();
    let door = Door::closed();
    house.faults.plan("CreateRefreshToken", 1, Fault::Hold(door.clone()));
    let meanwhile = async {
        door.arrival().await;
        change(&running, user_id).await;
        door.open();
    };
    let (late, ()) = tokio::join!(login(&running, "anna", "correct horse"), meanwhile);
    assert_eq!(code(late.unwrap_err()), expect);
    running.stop().await;
}

#[tokio::test]
async fn a_login_that_a_ban_overtakes_is_refused() {
    let ban = async |running: &Running, _| {
        running.accounts().ban_user(BanUserRequest { username: "anna".into() }).await.unwrap();
    };
    overtaken_by(ban, Code::PermissionDenied).await;
}

#[tokio::test]
async fn a_login_with_a_password_that_is_changed_meanwhile_is_refused() {
    let change = async |running: &Running, user_id| {
        let request = ChangePasswordRequest {
            user_id,
            old_password: "correct horse".into(),
            new_password: "new battery".into(),
        };
        running.auth().change_password(request).await.unwrap();
    };
    overtaken_by(change, Code::Unauthenticated).await;
}

#[tokio::test]
async fn what_could_not_be_stored_is_an_error_and_not_told() {
    let house = House::open().await;
    let running = house.start().await;
    let user_id = register(&running, "anna").await.unwrap();
    let session = login(&running, "anna", "correct horse").await.unwrap();
    let mut events = house.events::<UserEvent>(topics::EVENTS_USER);
    house.faults.plan("Revoke", 1, Fault::Refuse);
    let logout = LogoutRequest { user_id, device_id: session.device_id.clone(), ..Default::default() };
    assert_eq!(code(running.auth().logout(logout.clone()).await.unwrap_err()), Code::Unavailable);
    assert!(listed(&running).await.is_empty());
    running.auth().logout(logout).await.unwrap();
    // The first event is the one of the log-out that worked.
    told(&mut events, &running).await;
    running.stop().await;
}
