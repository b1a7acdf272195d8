//! Acknowledged means kept, and the order of one sender stays: what is answered to a send, and when.

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use gochat_infra::mq::FatalHandler;
use serde_json::{Value, json};

use crate::harness::{Gate, Ws, send_message};

fn ack(ws: &mut Ws) -> (String, String, Option<u64>) {
    let ack = ws.expect("message-ack");
    let text = |key: &str| ack[key].as_str().unwrap_or_else(|| panic!("{key} in {ack}")).to_owned();
    (text("tempMessageId"), text("status"), ack["code"].as_u64())
}

fn accepted(id: &str) -> (String, String, Option<u64>) {
    (id.into(), "accepted".into(), None)
}

fn retry(id: &str, code: u64) -> (String, String, Option<u64>) {
    (id.into(), "retry".into(), Some(code))
}

/// The disk fails at the message's fsync, and the log stands still until the test has looked.
#[test]
fn accepted_only_after_the_queue_has_confirmed() {
    let (at_fsync, stands_still) = mpsc::channel();
    let (go_on, gone_on) = mpsc::channel::<()>();
    let waiting = Mutex::new(gone_on);
    let handler = move |_: &str| {
        let _ = at_fsync.send(());
        // Not for ever: a test that failed must end.
        let _ = waiting.lock().map(|waiting| waiting.recv_timeout(Duration::from_secs(20)));
    };
    let gate = Gate::with_queue(
        |_| {},
        |queue| {
            queue.fault_fsync_at = 1;
            queue.on_fatal = FatalHandler(Arc::new(handler));
        },
    );
    let mut ws = gate.connect(1, "d");
    ws.send_message("world", "hi", "c1");
    stands_still.recv().expect("the fsync is reached");
    ws.expect_nothing();
    // The log takes nothing more; this answer comes before that to the message which it has.
    ws.send_message("world", "hi", "c2");
    assert_eq!(ack(&mut ws), retry("c2", 1013));
    go_on.send(()).expect("the log waits");
    assert_eq!(ack(&mut ws), retry("c1", 1014));
}

#[test]
fn retry_when_the_queue_refuses() {
    let gate = Gate::start();
    let mut ws = gate.connect(1, "d");
    gate.queue.close();
    ws.send_message("world", "hi", "c1");
    let answer = ws.expect("message-ack");
    let expect = json!({
        "tempMessageId": "c1", "conversationId": "world", "status": "retry", "code": 1013, "retryAfterMs": 500,
    });
    assert_eq!(answer, expect);
    ws.send_message("world", "hi", "c2");
    assert_eq!(ack(&mut ws), retry("c2", 1013));
}

#[test]
fn after_a_retry_all_wait_until_the_first_refused_returns() {
    let gate = Gate::with(|config| config.upstream.in_flight_per_connection_max = 1);
    let mut ws = gate.connect(1, "d");
    // One write: the shard reads all of it before any confirmation can come.
    let burst = ["c1", "c2", "c3"].map(|id| send_message("world", "hi", id));
    ws.send_all(&burst);
    let mut answers = [ack(&mut ws), ack(&mut ws), ack(&mut ws)];
    answers.sort();
    assert_eq!(answers, [accepted("c1"), retry("c2", 1012), retry("c3", 1013)]);

    ws.send_message("world", "hi", "c3");
    assert_eq!(ack(&mut ws), retry("c3", 1013));
    ws.send_message("group_7", "another conversation", "c4");
    assert_eq!(ack(&mut ws), accepted("c4"));
    ws.send_message("world", "hi", "c2");
    assert_eq!(ack(&mut ws), accepted("c2"));
    ws.send_message("world", "hi", "c3");
    assert_eq!(ack(&mut ws), accepted("c3"));
}

#[test]
fn a_connection_whose_order_cannot_be_kept_is_closed() {
    let gate = Gate::with(|config| config.upstream.refused_conversations_max = 2);
    let mut ws = gate.connect(1, "d");
    gate.queue.close();
    for group in 1..=3 {
        ws.send_message(&format!("group_{group}"), "hi", "c1");
    }
    assert_eq!(ws.closed(), 1013);
}

#[test]
fn what_can_never_be_stored_is_rejected() {
    let gate = Gate::with(|config| config.upstream.content_max_bytes = 100);
    let mut ws = gate.connect(1, "d");
    let mut check = |conversation: &str, content: &str, code: u64, name: &str| {
        ws.send_message(conversation, content, "c1");
        let answer = ws.expect("message-ack");
        assert_eq!(
            (&answer["status"], &answer["code"], &answer["name"]),
            (&"rejected".into(), &code.into(), &name.into())
        );
        assert!(answer["message"].as_str().is_some_and(|message| message.len() > 10), "{answer}");
    };
    check("single_2_1", "hi", 1000, "invalid-input");
    check("world", "", 1000, "invalid-input");
    check("world", &"é".repeat(51), 1011, "too-large");
    ws.send_message("world", &"é".repeat(50), "c2");
    assert_eq!(ack(&mut ws), accepted("c2"));
    ws.send_message("world", "hi", "not an id");
    assert_eq!(ws.expect("error")["code"], 1000);
}

#[test]
fn a_rejected_message_frees_those_behind_it() {
    let gate = Gate::with(|config| config.upstream.in_flight_per_connection_max = 1);
    let mut ws = gate.connect(1, "d");
    ws.send_all(&["c1", "c2", "c3"].map(|id| send_message("world", "hi", id)));
    let mut answers = [ack(&mut ws), ack(&mut ws), ack(&mut ws)];
    answers.sort();
    assert_eq!(answers[1..], [retry("c2", 1012), retry("c3", 1013)]);
    ws.send_message("world", "", "c2");
    assert_eq!(ack(&mut ws), ("c2".into(), "rejected".into(), Some(1000)));
    ws.send_message("world", "hi", "c3");
    assert_eq!(ack(&mut ws), accepted("c3"));
}

#[test]
fn the_id_of_a_send_comes_back_with_its_answer() {
    let gate = Gate::start();
    let mut ws = gate.connect(1, "d");
    let with_id = |content: &str, client_msg_id: &str| {
        let data = json!({"conversationId": "world", "content": content, "clientMsgId": client_msg_id});
        json!({"type": "send-message", "id": "q\"1", "data": data}).to_string()
    };
    for (content, client_msg_id) in [("hi", "c1"), ("", "c1"), ("hi", "?")] {
        ws.send(&with_id(content, client_msg_id));
        assert_eq!(ws.next()["id"], Value::from("q\"1"), "{content:?} {client_msg_id}");
    }
}
