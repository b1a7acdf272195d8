//! A newer token on an open socket moves its end, and nothing else does.

use gochat_infra::token::{Claims, TokenKeys};
use gochat_proto::{
    common::v1::RevokeReason,
    queue::v1::{UserEvent, user_event::Kind},
};
use serde_json::{Value, json};

use crate::harness::{Gate, Ws, now_ms, now_s, until};

fn auth(ws: &mut Ws, token: &str) -> Value {
    ws.send(&json!({"type": "auth", "id": "a", "data": {"token": token}}).to_string());
    let frame = ws.next();
    assert_eq!(frame["id"], "a", "{frame}");
    frame
}

fn upgraded(gate: &Gate, token: &str) -> Ws {
    let mut ws = gate.upgrade(&[("Authorization", &format!("Bearer {token}"))], &[]).expect("an upgrade");
    ws.expect("hello");
    ws
}

#[test]
fn a_socket_lives_as_long_as_its_newest_token() {
    let gate = Gate::with(|config| config.auth.token_grace_ms = 0);
    let first_end = now_s() + 2;
    let first = gate.token_until(7, "d", first_end);
    let mut ws = upgraded(&gate, &first);
    let second_end = first_end + 2;
    let answer = auth(&mut ws, &gate.token_until(7, "d", second_end));
    assert_eq!(
        (&answer["type"], &answer["data"]),
        (&json!("auth"), &json!({"expiresAt": second_end * 1000}))
    );
    // The older one again: the newer stays in force.
    let old = gate.keys.sign(&Claims { sub: 7, device: "d".into(), iat_ms: 1, exp: first_end });
    assert_eq!(auth(&mut ws, &old)["data"], json!({"expiresAt": second_end * 1000}));
    assert_eq!(ws.closed(), 4401);
    assert!(now_s() >= second_end, "closed before its newest token had expired");
}

#[test]
fn a_bad_token_changes_nothing() {
    let gate = Gate::start();
    let mut ws = gate.connect(7, "d");
    let others = tempfile::tempdir().expect("a folder");
    let forger = TokenKeys::load_or_create(&others.path().join("keys.json")).expect("keys");
    let claims = Claims { sub: 7, device: "d".into(), iat_ms: now_ms(), exp: now_s() + 900 };
    let revoked = gate.token_of(7, "d", now_ms() - 60_000);
    gate.event(&UserEvent {
        kind: Kind::Revoked.into(),
        user_id: 7,
        issued_until_ms: i64::try_from(now_ms() - 60_000).expect("a time"),
        expires_at_ms: i64::try_from(now_ms() + 60_000).expect("a time"),
        reason: RevokeReason::Logout.into(),
        ..UserEvent::default()
    });
    until("the revocation", || gate.http("GET", "/api/users/me", Some(&revoked), None).status == 401);
    let bad = [
        ("of another user", gate.token(8, "d")),
        ("of another device", gate.token(7, "e")),
        ("forged", forger.sign(&claims)),
        ("expired", gate.token_until(7, "d", now_s() - 1)),
        ("revoked", revoked),
        ("none at all", "x".to_owned()),
    ];
    for (what, token) in bad {
        let answer = auth(&mut ws, &token);
        assert_eq!((&answer["type"], &answer["data"]["code"]), (&json!("error"), &json!(1006)), "{what}");
    }
    ws.send(r#"{"type":"auth","data":{}}"#);
    assert_eq!(ws.expect("error")["code"], 1000);
    ws.expect_nothing();
}

#[test]
fn a_revocation_counts_against_the_newest_token() {
    let gate = Gate::start();
    let issued_ms = now_ms();
    let mut ws = upgraded(&gate, &gate.token_of(7, "d", issued_ms - 1_000));
    let mut old = upgraded(&gate, &gate.token_of(7, "d", issued_ms - 1_000));
    assert_eq!(auth(&mut ws, &gate.token_of(7, "d", issued_ms))["type"], "auth");
    gate.event(&UserEvent {
        kind: Kind::Revoked.into(),
        user_id: 7,
        issued_until_ms: i64::try_from(issued_ms - 1).expect("a time"),
        expires_at_ms: i64::try_from(issued_ms + 60_000).expect("a time"),
        ..UserEvent::default()
    });
    assert_eq!(old.closed(), 4401);
    ws.expect_nothing();
}
