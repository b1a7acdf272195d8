//! Who may open a connection, and what it is told first.

use std::{
    io::{Read, Write},
    net::TcpStream,
    time::Duration,
};

use gochat_infra::token::TokenKeys;
use serde_json::json;

use crate::harness::{Gate, Refused, fake::EPOCH, now_s};

fn refused(outcome: Result<crate::harness::Ws, Refused>) -> (u16, u64) {
    match outcome {
        Ok(_) => panic!("the upgrade was allowed"),
        Err(refused) => {
            let code = refused.body["error"]["code"].as_u64();
            (refused.status.as_u16(), code.unwrap_or_else(|| panic!("no code: {}", refused.body)))
        }
    }
}

#[test]
fn hello_tells_who_and_how() {
    let gate = Gate::start();
    let mut ws = gate.connect_silently(u64::MAX, "phone");
    let hello = ws.expect("hello");
    assert_eq!(hello["userId"], u64::MAX.to_string());
    assert!(hello["sessionId"].as_str().is_some_and(|id| !id.is_empty()), "{hello}");
    assert!(hello["serverTime"].as_u64().is_some_and(|ms| ms / 1000 + 60 > now_s()), "{hello}");
    let mut rest = hello.clone();
    for key in ["userId", "sessionId", "serverTime"] {
        rest.as_object_mut().expect("an object").remove(key);
    }
    let expect = json!({
        "protocol": 1, "deviceId": "phone", "heartbeatMs": 30_000, "maxMessageBytes": 8192, "epoch": EPOCH,
        "headsIntervalMs": 300_000,
    });
    assert_eq!(rest, expect);
}

#[test]
fn tokens_come_in_a_header_or_a_subprotocol() {
    let gate = Gate::start();
    let token = gate.token(7, "d");
    let bearer = format!("bearer.{token}");
    let mut browser = gate.upgrade(&[], &["gochat.v1", &bearer]).expect("an upgrade");
    let chosen = browser.response.headers().get("sec-websocket-protocol").expect("a subprotocol");
    assert_eq!(chosen, "gochat.v1");
    assert_eq!(browser.expect("hello")["userId"], "7");
    let mut other = gate.upgrade(&[("Authorization", &format!("Bearer {token}"))], &[]).expect("an upgrade");
    assert!(other.response.headers().get("sec-websocket-protocol").is_none());
    assert_eq!(other.expect("hello")["userId"], "7");
}

#[test]
fn subprotocols_may_come_in_several_headers() {
    let gate = Gate::start();
    let name = "Sec-WebSocket-Protocol";
    let bearer = format!("bearer.{}", gate.token(7, "d"));
    let mut ws = gate.upgrade(&[(name, "gochat.v1"), (name, &bearer)], &[]).expect("an upgrade");
    assert_eq!(ws.response.headers().get("sec-websocket-protocol").expect("a subprotocol"), "gochat.v1");
    assert_eq!(ws.expect("hello")["userId"], "7");
}

#[test]
fn a_second_origin_is_refused() {
    let gate = Gate::start();
    let (own, bearer) = (format!("http://{}", gate.addr), format!("Bearer {}", gate.token(7, "d")));
    let with = |origins: [&str; 2]| {
        let [one, two] = origins;
        refused(gate.upgrade(&[("Authorization", &bearer), ("Origin", one), ("Origin", two)], &[]))
    };
    assert_eq!(with([&own, "http://evil.example"]), (403, 1002));
    assert_eq!(with(["http://evil.example", &own]), (403, 1002));
    assert_eq!(with([&own, &own]), (403, 1002));
}

#[test]
fn an_origin_that_is_no_utf_8_is_refused() {
    let gate = Gate::start();
    let (own, token) = (format!("http://{}", gate.addr), gate.token(7, "d"));
    let status = |origins: &[u8]| {
        let head = format!(
            "GET /ws HTTP/1.1\r\nHost: {}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
             Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nAuthorization: Bearer {token}\r\n",
            gate.addr
        );
        let mut stream = TcpStream::connect(gate.addr).expect("a connection");
        stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
        stream.write_all(&[head.as_bytes(), origins, b"\r\n"].concat()).expect("written");
        let mut status = [0; 12];
        stream.read_exact(&mut status).expect("an answer");
        status[9..].to_vec()
    };
    assert_eq!(status(b""), b"101");
    assert_eq!(status(format!("Origin: {own}\r\n").as_bytes()), b"101");
    assert_eq!(status(b"Origin: http://\xe9vil.example\r\n"), b"403");
    assert_eq!(status(b"Origin: \xff\r\n"), b"403");
    assert_eq!(status(&[format!("Origin: {own}\r\n").as_bytes(), b"origin: \xff\r\n"].concat()), b"403");
}

#[test]
fn bad_tokens_are_refused() {
    let gate = Gate::start();
    let with = |token: &str| refused(gate.upgrade(&[("Authorization", &format!("Bearer {token}"))], &[]));
    assert_eq!(refused(gate.upgrade(&[], &[])), (401, 1006));
    assert_eq!(with(&gate.token_until(7, "d", now_s() - 1)), (401, 1006));
    assert_eq!(with("no.token.atall"), (401, 1006));
    let others = tempfile::tempdir().expect("a folder");
    let forger = TokenKeys::load_or_create(&others.path().join("keys.json")).expect("keys");
    let claims = gochat_infra::token::Claims { sub: 7, device: "d".into(), iat_ms: 0, exp: now_s() + 900 };
    assert_eq!(with(&forger.sign(&claims)), (401, 1006));
    let expired = format!("bearer.{}", gate.token_until(7, "d", now_s() - 1));
    assert_eq!(refused(gate.upgrade(&[], &["gochat.v1", &expired])), (401, 1006));
}

#[test]
fn tokens_in_the_url_need_permission() {
    let strict = Gate::start();
    let path = |gate: &Gate| format!("/ws?token={}", gate.token(7, "d"));
    assert_eq!(refused(strict.upgrade_at(&path(&strict), &[], &[])), (401, 1006));
    let lax = Gate::with(|config| config.auth.allow_query_token = true);
    let mut ws = lax.upgrade_at(&path(&lax), &[], &[]).expect("an upgrade");
    assert_eq!(ws.expect("hello")["userId"], "7");
}

#[test]
fn origins_are_same_host_or_listed() {
    let gate = Gate::with(|config| config.auth.allowed_origins = vec!["https://chat.example".into()]);
    let bearer = format!("Bearer {}", gate.token(7, "d"));
    let from = |origin: &str| gate.upgrade(&[("Authorization", &bearer), ("Origin", origin)], &[]);
    assert_eq!(refused(from("http://evil.example")), (403, 1002));
    assert_eq!(refused(from("null")), (403, 1002));
    from(&format!("http://{}", gate.addr)).expect("same host").expect("hello");
    from("https://chat.example").expect("listed").expect("hello");
}

#[test]
fn an_unknown_version_is_told_the_known_ones() {
    let gate = Gate::start();
    let bearer = format!("bearer.{}", gate.token(7, "d"));
    let Err(refused) = gate.upgrade(&[], &["gochat.v9", &bearer]) else { panic!("allowed") };
    assert_eq!(refused.status, 400);
    assert_eq!(refused.body["error"]["details"], json!({ "versions": ["gochat.v1"] }));
}

#[test]
fn a_connection_ends_with_its_token() {
    let gate = Gate::with(|config| config.auth.token_grace_ms = 0);
    let token = gate.token_until(7, "d", now_s() + 2);
    let mut ws = gate.upgrade(&[("Authorization", &format!("Bearer {token}"))], &[]).expect("an upgrade");
    ws.expect("hello");
    assert_eq!(ws.closed(), 4401);
}

#[test]
fn frames_that_are_no_frames_are_answered_and_then_end_the_connection() {
    let gate = Gate::with(|config| config.requests.malformed_in_a_row_max = 3);
    let mut ws = gate.connect(7, "d");
    for _ in 0..2 {
        ws.send("{");
        ws.send("[]");
        assert_eq!(ws.expect("error")["code"], 1000);
        assert_eq!(ws.expect("error")["code"], 1000);
        // A sound frame makes the count begin anew.
        ws.expect_nothing();
    }
    ws.send(r#"{"type":"what","id":5}"#);
    let frame = ws.next();
    assert_eq!(
        (&frame["type"], &frame["id"], &frame["data"]["code"]),
        (&json!("error"), &json!(5), &json!(1000))
    );
    (0..3).for_each(|_| ws.send("nonsense"));
    assert_eq!(ws.closed(), 1008);
}

#[test]
fn binary_frames_end_the_connection() {
    let gate = Gate::start();
    let mut ws = gate.connect(7, "d");
    ws.send_binary();
    assert_eq!(ws.closed(), 1003);
}
