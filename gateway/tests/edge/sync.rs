//! A client that was away is told what it missed.

use gochat_infra::errors::{Code, Error};
use serde_json::{Value, json};

use crate::harness::{Gate, delivery, fake::EPOCH, message};

fn seqs(page: &Value) -> Vec<u64> {
    let messages = page["messages"].as_array().expect("messages");
    messages.iter().map(|message| message["seqId"].as_u64().expect("a seq")).collect()
}

#[test]
fn heads_may_come_before_hello() {
    let gate = Gate::start();
    gate.fake.set_head("world", 4);
    gate.fake.hold();
    let mut ws = gate.connect_silently(1, "d");
    ws.send(r#"{"type":"heads","id":1,"data":{"conversations":{"world":3}}}"#);
    ws.expect("hello");
    // Heads are read after the session is written, and a second request has no place to wait.
    ws.send(r#"{"type":"heads","id":2}"#);
    let refused = ws.next();
    assert_eq!((&refused["id"], &refused["data"]["code"]), (&json!(2), &json!(1012)));
    ws.expect_nothing();
    gate.fake.release();
    let frame = ws.next();
    assert_eq!(frame["id"], 1);
    let expect = json!({"changed": [{"conversationId": "world", "lastSeq": 4}], "epoch": EPOCH});
    assert_eq!((&frame["type"], &frame["data"]), (&"heads".into(), &expect));
}

#[test]
fn heads_bring_the_first_pages() {
    let gate = Gate::start();
    for seq in 1..=5 {
        gate.fake.store(message("group_7", 2, seq));
    }
    gate.fake.store(message("world", 2, 1));
    let mut ws = gate.connect(1, "d");
    ws.send(r#"{"type":"heads","data":{"conversations":{"group_7":2,"world":1},"pageLimit":2}}"#);
    let changed = ws.expect("heads")["changed"].clone();
    assert_eq!(changed, json!([{"conversationId": "group_7", "lastSeq": 5}]));
    let page = ws.expect("sync-page");
    assert_eq!((seqs(&page), &page["hasMore"], &page["epoch"]), (vec![3, 4], &true.into(), &EPOCH.into()));
    ws.send(r#"{"type":"sync","id":"s","data":{"conversationId":"group_7","afterSeq":4,"limit":2}}"#);
    let frame = ws.next();
    assert_eq!((&frame["type"], &frame["id"]), (&"sync-page".into(), &"s".into()));
    assert_eq!((seqs(&frame["data"]), &frame["data"]["hasMore"]), (vec![5], &false.into()));
    ws.expect_nothing();
}

#[test]
fn pages_are_bounded_in_number_and_bytes() {
    let gate = Gate::with(|config| {
        config.requests.heads_pages_max = 2;
        config.requests.page_max_bytes = 1024;
    });
    for group in 1..=3 {
        for seq in 1..=9 {
            gate.fake.store(message(&format!("group_{group}"), 2, seq));
        }
    }
    let mut ws = gate.connect(1, "d");
    ws.send(r#"{"type":"heads","data":{"pageLimit":100}}"#);
    assert_eq!(ws.expect("heads")["changed"].as_array().expect("heads").len(), 3);
    for _ in 0..2 {
        let page = ws.expect("sync-page");
        let seqs = seqs(&page);
        assert!((1..9).contains(&seqs.len()) && page["hasMore"] == true, "{page}");
        assert_eq!(seqs, (1..=seqs.len() as u64).collect::<Vec<_>>(), "cut at the end");
    }
    ws.expect_nothing();
}

#[test]
fn heads_are_compared_once_more() {
    let gate = Gate::with(|config| config.requests.recheck_after_ms = 200);
    gate.fake.set_head("world", 4);
    let mut ws = gate.connect(1, "d");
    ws.send(r#"{"type":"heads"}"#);
    ws.expect("heads");
    // What was delivered live is known, too.
    gate.fake.set_head("world", 5);
    gate.down(delivery(message("world", 2, 5), &[]));
    ws.expect("new-message");
    // What nobody told him of is not.
    gate.fake.set_head("group_7", 1);
    assert_eq!(ws.expect("resync"), json!({"delayMs": 0}));
    assert!(gate.fake.asked("get_heads").contains("last_seq: 5"), "live messages count as told");
}

#[test]
fn what_the_side_cannot_take_is_told_to_come_later() {
    let gate = Gate::with(|config| {
        config.side.data_calls_max = 1;
        config.side.data_queue_max = 1;
    });
    let mut ws = gate.connect_bound(1, "d");
    gate.fake.hold();
    ws.send_all(&[1, 2, 3, 4].map(|id| json!({"type": "heads", "id": id}).to_string()));
    // One is under way and one waits, at most.
    for _ in 0..2 {
        let refused = ws.expect("error");
        assert_eq!((&refused["code"], &refused["retryAfterMs"]), (&1013.into(), &1000.into()));
    }
    gate.fake.release();
    let rest = [ws.next(), ws.next()];
    assert!(rest.iter().any(|frame| frame["type"] == "heads"), "{rest:?}");
    ws.send(r#"{"type":"heads","id":5}"#);
    assert_eq!(ws.next()["id"], 5, "places are given back");
}

#[test]
fn reading_moves_the_pointer() {
    let gate = Gate::start();
    let mut ws = gate.connect(1, "d");
    ws.send(r#"{"type":"mark-read","id":"r","data":{"conversationId":"world","seqId":3}}"#);
    let frame = ws.next();
    assert_eq!((&frame["type"], &frame["id"]), (&"receipt".into(), &"r".into()));
    assert_eq!(frame["data"], json!({"conversationId": "world", "userId": "1", "seqId": 3}));
    assert!(gate.fake.asked("mark_as_read").contains("seq_id: 3"));
}

#[test]
fn errors_carry_the_id_of_their_request() {
    let gate = Gate::start();
    gate.fake
        .fail("get_conversation_messages", Error::new(Code::ConversationNotFound, "no such conversation"));
    gate.fake.fail("mark_as_read", Error::new(Code::Overloaded, "too much to do").retry_after_ms(700));
    let mut ws = gate.connect(1, "d");
    ws.send(r#"{"type":"sync","id":"s","data":{"conversationId":"group_7"}}"#);
    let frame = ws.next();
    assert_eq!((&frame["type"], &frame["id"]), (&"error".into(), &"s".into()));
    let expect = json!({"code": 1004, "name": "conversation-not-found", "message": "no such conversation", "details": null});
    assert_eq!(frame["data"], expect);
    ws.send(r#"{"type":"mark-read","id":9,"data":{"conversationId":"group_7","seqId":1}}"#);
    let frame = ws.next();
    assert_eq!(
        (&frame["id"], &frame["data"]["code"], &frame["data"]["retryAfterMs"]),
        (&9.into(), &1013.into(), &700.into())
    );
}
