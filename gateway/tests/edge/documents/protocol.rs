//! docs/protocol.md: every frame that a client may send is understood, and every frame shown is one that the server
//! sends, with the same members of the same types.

use std::collections::BTreeMap;

use gochat_infra::errors::{Code, Error};
use gochat_proto::{
    common::v1::RevokeReason,
    queue::v1::{
        Ack, ConversationUpdated, Receipt, Resync, UserEvent, ack::Status, conversation_updated::Change,
        downstream::Body, user_event::Kind,
    },
};
use serde_json::{Value, json};

use super::PROTOCOL;
use crate::{
    chat::upstream,
    gaps,
    harness::{Gate, delivery, message, now_ms},
};

/// The JSON values in the page's blocks of this kind.
fn examples(kind: &str) -> Vec<Value> {
    let fence = format!("```json {kind}\n");
    let mut found = Vec::new();
    for block in PROTOCOL.split(fence.as_str()).skip(1) {
        let text = block.split("```").next().expect("a block");
        let values = serde_json::Deserializer::from_str(text).into_iter::<Value>();
        found.extend(values.map(|value| value.unwrap_or_else(|error| panic!("{error} in {text}"))));
    }
    found
}

/// Types in place of values. An `id` is the client's own.
fn shape(value: &Value) -> Value {
    match value {
        Value::Null => "null".into(),
        Value::Bool(_) => "boolean".into(),
        Value::Number(_) => "number".into(),
        Value::String(_) => "string".into(),
        Value::Array(items) => items.first().map_or_else(|| "nothing".into(), |first| json!([shape(first)])),
        Value::Object(members) => {
            let members = members.iter().filter(|(name, _)| *name != "id");
            Value::Object(members.map(|(name, member)| (name.clone(), shape(member))).collect())
        }
    }
}

/// What tells frames of one type apart that look different.
fn name(frame: &Value) -> String {
    let kind = frame["type"].as_str().unwrap_or_else(|| panic!("no type: {frame}"));
    match (kind, frame["data"]["status"].as_str(), frame["data"].get("retryAfterMs")) {
        ("message-ack", Some(status), _) => format!("{kind} {status}"),
        ("error", _, Some(_)) => "error to come again".to_owned(),
        _ => kind.to_owned(),
    }
}

#[test]
fn every_frame_up_is_understood() {
    let gate = Gate::start();
    gate.fake.set_head("world", 6);
    gate.fake.store(message("world", 2, 6));
    let mut understood = Vec::new();
    for mut frame in examples("up") {
        let mut ws = gate.connect_bound(1, "phone");
        let kind = frame["type"].as_str().expect("a type").to_owned();
        if kind == "auth" {
            frame["data"]["token"] = gate.token(1, "phone").into();
        }
        ws.send(&frame.to_string());
        let answered_by = match kind.as_str() {
            "send-message" => "message-ack",
            "sync" => "sync-page",
            "mark-read" => "receipt",
            "ping" => "pong",
            "pong" => {
                ws.expect_nothing();
                understood.push(kind);
                continue;
            }
            same => same,
        };
        let answer = ws.next();
        assert_eq!(answer["type"], answered_by, "{frame} → {answer}");
        assert_eq!(answer.get("id"), frame.get("id"), "{frame} → {answer}");
        assert_ne!(answer["data"]["status"], "rejected", "{frame} → {answer}");
        understood.push(kind);
    }
    let all = ["auth", "heads", "mark-read", "ping", "pong", "send-message", "sync"];
    understood.sort();
    understood.dedup();
    assert_eq!(understood, all, "each frame that the server knows has an example");
}

/// One frame of each kind, as the server sends it.
fn sent_by_the_server() -> BTreeMap<String, Value> {
    let gate = Gate::start();
    let mut frames = Vec::new();
    let mut ws = gate.connect_silently(1, "phone");
    frames.push(ws.next());
    ws.send_message("world", "hi", "c1");
    frames.push(ws.next());
    let connection_id = upstream(&gate).connection_id;
    let ack = |status: Status| {
        Body::Ack(Ack {
            user_id: 1,
            connection_id,
            client_msg_id: "c1".into(),
            conversation_id: "world".into(),
            status: status.into(),
            message_id: 456,
            seq_id: 7,
            code: 1002,
            reason: "you are not a member".into(),
        })
    };
    let (conversation_id, user_ids) = ("group_7".to_owned(), vec![1]);
    for body in [
        ack(Status::Stored),
        ack(Status::Rejected),
        delivery(message("group_7", 2, 1), &[1]),
        Body::Receipt(Receipt {
            conversation_id: conversation_id.clone(),
            reader_id: 2,
            read_seq: 1,
            user_ids: user_ids.clone(),
        }),
        Body::ConversationUpdated(ConversationUpdated {
            conversation_id,
            change: Change::Joined.into(),
            user_ids: user_ids.clone(),
        }),
        Body::Resync(Resync { user_ids, spread_ms: 0 }),
    ] {
        gate.down(body);
        frames.push(ws.next());
    }
    gate.fake.store(message("world", 2, 9));
    let token = gate.token(1, "phone");
    for up in [
        json!({"type": "heads"}),
        json!({"type": "sync", "id": "s1", "data": {"conversationId": "world"}}),
        json!({"type": "auth", "id": 3, "data": {"token": token}}),
        json!({"type": "ping", "id": 4}),
    ] {
        ws.send(&up.to_string());
        frames.push(ws.next());
    }
    for error in [
        Error::new(Code::ConversationNotFound, "no such conversation"),
        Error::new(Code::RateLimited, "slow down").retry_after_ms(40),
    ] {
        gate.fake.fail("get_conversation_messages", error);
        ws.send(r#"{"type":"sync","id":"s1","data":{"conversationId":"world"}}"#);
        frames.push(ws.next());
    }
    gate.queue.close();
    ws.send_message("group_7", "hi", "c2");
    frames.push(ws.next());
    frames.push(gaps::a_gap());
    frames.push(kicked());
    frames.into_iter().map(|frame| (name(&frame), frame)).collect()
}

fn kicked() -> Value {
    let gate = Gate::start();
    let mut ws = gate.connect(1, "phone");
    let issued_until_ms = i64::try_from(now_ms()).expect("a time");
    gate.event(&UserEvent {
        kind: Kind::Revoked.into(),
        user_id: 1,
        issued_until_ms,
        expires_at_ms: issued_until_ms + 60_000,
        reason: RevokeReason::Logout.into(),
        ..UserEvent::default()
    });
    ws.next()
}

#[test]
fn every_frame_down_is_one_that_the_server_sends() {
    let sent = sent_by_the_server();
    let shown: BTreeMap<String, Value> =
        examples("down").into_iter().map(|frame| (name(&frame), frame)).collect();
    let names = |frames: &BTreeMap<String, Value>| frames.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&shown), names(&sent), "each kind of frame has an example");
    for (name, frame) in &shown {
        assert_eq!(shape(frame), shape(&sent[name]), "{name}: {frame} and {}", sent[name]);
    }
}

#[test]
fn a_refusal_reads_as_shown() {
    let gate = Gate::start();
    let body = || Some(json!({"username": "ann", "password": "x"}));
    let plain = gate.http("POST", "/api/auth/login", None, Some(json!({}))).json();
    gate.fake.fail("login", Error::new(Code::Overloaded, "too many log-ins").retry_after_ms(1_500));
    let again = gate.http("POST", "/api/auth/login", None, body()).json();
    let shapes = |values: Vec<Value>| values.iter().map(shape).collect::<Vec<_>>();
    assert_eq!(shapes(examples("refusal")), shapes(vec![plain, again]));
}

#[test]
fn another_shape_is_found() {
    let base = json!({"a": [{"b": 1}], "c": "x"});
    for other in [
        json!({"a": [{"b": "1"}], "c": "x"}),
        json!({"a": [{"b": 1, "d": 1}], "c": "x"}),
        json!({"a": [], "c": "x"}),
        json!({"a": [{"b": 1}]}),
        json!({"a": [{"b": 1}], "c": null}),
    ] {
        assert_ne!(shape(&base), shape(&other), "{other}");
    }
    assert_eq!(shape(&base), shape(&json!({"id": 1, "c": "", "a": [{"b": 2}]})));
}
