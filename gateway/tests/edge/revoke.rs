//! A token that ended before its time opens nothing any more, and closes what it had opened.

use std::sync::Arc;

use gochat_infra::errors::{Code, Error};
use gochat_proto::{
    common::v1::RevokeReason,
    queue::v1::{UserEvent, user_event::Kind},
    repo::v1::Revocation,
};
use serde_json::json;

use crate::harness::{Gate, Ws, fake::Fake, now_ms, until};

fn row(user_id: u64, device: &str, issued_until_ms: u64, reason: RevokeReason) -> Revocation {
    let issued_until_ms = i64::try_from(issued_until_ms).expect("a time");
    Revocation {
        revocation_id: 0,
        user_id,
        device_id: device.into(),
        issued_until_ms,
        reason: reason.into(),
        expires_at_ms: issued_until_ms + 1_000_000,
    }
}

fn event(row: Revocation) -> UserEvent {
    UserEvent {
        kind: Kind::Revoked.into(),
        user_id: row.user_id,
        device_id: row.device_id,
        at_ms: row.issued_until_ms,
        issued_until_ms: row.issued_until_ms,
        reason: row.reason,
        expires_at_ms: row.expires_at_ms,
        revocation_id: 1,
    }
}

fn is_kicked(ws: &mut Ws, reason: &str) {
    let told = ws.wait_for("kicked");
    assert_eq!(told["reason"], reason, "{told}");
    assert!(told["message"].as_str().is_some_and(|message| message.len() > 10), "{told}");
    assert_eq!(ws.closed(), 4401);
}

/// What a token is answered over REST and at the upgrade.
fn answers(gate: &Gate, token: &str) -> [(u16, Option<u64>); 2] {
    let rest = gate.http("GET", "/api/users/me", Some(token), None);
    let code = (rest.status != 200).then(|| rest.json()["error"]["code"].as_u64().expect("a code"));
    let bearer = format!("Bearer {token}");
    let upgraded = match gate.upgrade(&[("Authorization", &bearer)], &[]) {
        Ok(_) => (101, None),
        Err(refused) => (refused.status.as_u16(), refused.body["error"]["code"].as_u64()),
    };
    [(rest.status, code), upgraded]
}

const GOOD: [(u16, Option<u64>); 2] = [(200, None), (101, None)];
const REFUSED: [(u16, Option<u64>); 2] = [(401, Some(1006)), (401, Some(1006))];

#[test]
fn an_event_puts_the_devices_out_that_it_names() {
    let gate = Gate::with(|config| config.shards = 3);
    let (mut phone, mut other) = (gate.connect(1, "phone"), gate.connect(1, "phone"));
    let (mut laptop, mut stranger) = (gate.connect(1, "laptop"), gate.connect(2, "phone"));
    gate.event(&event(row(1, "phone", now_ms(), RevokeReason::Logout)));
    is_kicked(&mut phone, "logout");
    is_kicked(&mut other, "logout");
    laptop.expect_nothing();
    stranger.expect_nothing();
    gate.event(&event(row(1, "", now_ms(), RevokeReason::Banned)));
    is_kicked(&mut laptop, "banned");
    stranger.expect_nothing();
}

#[test]
fn every_reason_has_its_name() {
    let gate = Gate::start();
    for (reason, name) in [
        (RevokeReason::Logout, "logout"),
        (RevokeReason::Banned, "banned"),
        (RevokeReason::PasswordChanged, "password-changed"),
        (RevokeReason::TokenReused, "token-reused"),
    ] {
        let bearer = format!("Bearer {}", gate.token(1, name));
        let mut ws = gate.upgrade(&[("Authorization", &bearer)], &[]).expect("an upgrade");
        ws.expect("hello");
        gate.event(&event(row(1, name, now_ms(), reason)));
        is_kicked(&mut ws, name);
    }
}

#[test]
fn a_token_is_refused_when_it_was_issued_until_then_and_another_is_not() {
    let gate = Gate::start();
    let until_ms = now_ms();
    let (old, new) = (gate.token_of(1, "phone", until_ms), gate.token_of(1, "phone", until_ms + 1));
    assert_eq!(answers(&gate, &old), GOOD);
    let mut socket = gate.upgrade(&[("Authorization", &format!("Bearer {new}"))], &[]).expect("an upgrade");
    socket.expect("hello");
    gate.event(&event(row(1, "phone", until_ms, RevokeReason::Logout)));
    // The socket's token was issued later: it stays, and so does another user's.
    until("the refusal", || answers(&gate, &old) == REFUSED);
    assert_eq!(answers(&gate, &new), GOOD);
    assert_eq!(answers(&gate, &gate.token_of(1, "laptop", until_ms)), GOOD);
    assert_eq!(answers(&gate, &gate.token_of(2, "phone", until_ms)), GOOD);
    socket.expect_nothing();
}

#[test]
fn a_gateway_knows_all_revocations_before_it_takes_anybody() {
    let fake = Arc::new(Fake::default());
    fake.fail("list_revocations", Error::new(Code::Unavailable, "not now"));
    let issued_ms = now_ms();
    for user in 1..=25 {
        fake.revoke(row(user, "", issued_ms, RevokeReason::Banned));
    }
    let change = |config: &mut gochat_gateway::GatewayConfig| {
        config.auth.revocations_page_max = 10;
        config.auth.revocations_retry_ms = 5;
    };
    let gate = Gate::start_with(change, |_| {}, Arc::clone(&fake));
    let reason = || gate.readiness.report().to_string();
    until("the reason", || reason().contains("loading revocations"));
    assert!(!gate.readiness.is_ready());
    assert_eq!(answers(&gate, &gate.token(1, "d")), [(503, Some(1014)), (503, Some(1014))]);
    let busy = gate.http("GET", "/api/users/me", Some(&gate.token(1, "d")), None);
    assert_eq!(busy.header("retry-after"), Some("1"));
    fake.work_again();
    let gate = gate.ready();
    assert!(gate.readiness.is_ready());
    // The last of three pages, too; and nothing of a user whom none names.
    for user in [1, 10, 11, 25] {
        assert_eq!(answers(&gate, &gate.token_of(user, "d", issued_ms)), REFUSED, "user {user}");
    }
    assert_eq!(answers(&gate, &gate.token_of(26, "d", issued_ms)), GOOD);
    assert!(gate.metrics.encode().contains("gateway_revocation_load_failures_total "));
}

#[test]
fn what_no_event_told_is_asked_for() {
    let gate = Gate::with(|config| config.auth.revocations_poll_ms = 20);
    let mut ws = gate.connect(1, "phone");
    gate.fake.revoke(row(2, "", now_ms(), RevokeReason::Banned));
    gate.fake.revoke(row(1, "", now_ms(), RevokeReason::PasswordChanged));
    is_kicked(&mut ws, "password-changed");
    until("only newer ones are asked for", || {
        gate.fake.asked("list_revocations").contains("after_revocation_id: 2")
    });
}

#[test]
fn after_lost_events_all_are_asked_for_again() {
    let gate = Gate::with_queue(
        |config| config.auth.revocations_poll_ms = 3_600_000,
        |queue| {
            queue.memory_max_records = 1;
            queue.tail.max_records = 1;
        },
    );
    let mut ws = gate.connect(1, "phone");
    // Its event is lost; so are many of these.
    gate.fake.revoke(row(1, "", now_ms(), RevokeReason::Banned));
    let noise = UserEvent { kind: Kind::Login.into(), user_id: 9, ..UserEvent::default() };
    let asked = gate.fake.calls("list_revocations");
    until("events are lost", || {
        (0..2_000).for_each(|_| gate.event(&noise));
        gate.fake.calls("list_revocations") > asked
    });
    is_kicked(&mut ws, "banned");
}

#[test]
fn when_full_the_earliest_become_a_floor() {
    let gate = Gate::with(|config| config.auth.revocations_max = 2);
    let until_ms = now_ms();
    let old = gate.token_of(77, "d", until_ms - 1_000);
    let younger = gate.token_of(77, "d", until_ms - 999);
    assert_eq!(answers(&gate, &old), GOOD);
    for (user, age_ms) in [(1, 500), (2, 1_000), (3, 200)] {
        gate.event(&event(row(user, "", until_ms - age_ms, RevokeReason::Banned)));
    }
    until("the floor", || answers(&gate, &old) == REFUSED);
    assert_eq!(answers(&gate, &younger), GOOD);
    let refused = gate.http("GET", "/api/users/me", Some(&old), None);
    assert!(refused.json()["error"]["message"].as_str().is_some_and(|text| text.contains("refresh")));
    let new = gate.token_of(2, "d", until_ms);
    assert_eq!(answers(&gate, &new), GOOD, "a newer token of his is not concerned");
    assert_eq!(answers(&gate, &gate.token_of(3, "d", until_ms - 200)), REFUSED);
}

#[test]
fn kicks_are_counted_by_their_reason() {
    let gate = Gate::with(|config| config.stats_interval_ms = 100);
    let mut ws = gate.connect(1, "phone");
    gate.event(&event(row(1, "", now_ms(), RevokeReason::TokenReused)));
    assert_eq!(ws.wait_for("kicked")["reason"], json!("token-reused"));
    let line = "gateway_closes_total{reason=\"kicked_token_reused\"} 1\n";
    until(line, || gate.metrics.encode().contains(line));
    assert!(gate.metrics.encode().contains("gateway_revocations 1\n"));
}
