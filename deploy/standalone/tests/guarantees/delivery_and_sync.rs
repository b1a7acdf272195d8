//! Promise: who was away gets everything: heads, pages in order, then live messages, with no gap and nothing twice that
//! (conversation, seq) doesn't remove. A live delivery may be lost, also the last one, which leaves no hole: heads find it.
//! Method: pages against live messages by hand; then a crowd behind a downstream queue that is so short that it drops what it should
//! deliver, judged by the load suite's checker. (That one is tried on lost deliveries in perf/src/checker/tests.rs.)
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::crowd::{Crowd, judge, wait_for_progress};
use crate::harness::{Client, Server, single, until};

/// What a client has of one conversation, by seq.
fn put(have: &mut BTreeMap<u64, String>, message: &Value) {
    let seq = message["seqId"].as_u64().expect("a seq");
    let content = message["content"].as_str().expect("content").to_owned();
    if let Some(old) = have.insert(seq, content.clone()) {
        assert_eq!(old, content, "seq {seq} means two messages");
    }
}

/// Everything after what `have` holds, page by page.
fn catch_up(client: &mut Client, conversation: &str, have: &mut BTreeMap<u64, String>, limit: u32) -> usize {
    let mut pages = 0;
    loop {
        let after = have.keys().next_back().copied().unwrap_or(0);
        client.send("sync", json!({"conversationId": conversation, "afterSeq": after, "limit": limit}));
        let page = client.wait_for("sync-page", |d| d["conversationId"] == conversation);
        let messages = page["messages"].as_array().expect("messages");
        assert!(messages.len() <= limit as usize, "a page is bounded");
        messages.iter().for_each(|m| put(have, m));
        pages += 1;
        if page["hasMore"] == json!(false) {
            return pages;
        }
    }
}

#[test]
fn who_was_away_gets_everything_once_and_in_order() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let mut a = server.connect(&ann);
    for n in 1..=120 {
        let id = format!("away-{n}");
        a.say(&conversation, &format!("message {n}"), &id);
        if n % 20 == 0 {
            // No more in flight than a connection may have.
            a.wait_for("message-ack", |d| d["status"] == "stored" && d["tempMessageId"] == id.as_str());
        }
    }

    // Heads may be the first frame, before hello was read.
    let mut b = server.connect(&bob);
    b.send("heads", json!({"conversations": {}, "pageLimit": 50}));
    let heads = b.wait_for("heads", |_| true);
    let head = heads["changed"]
        .as_array()
        .unwrap()
        .iter()
        .find(|h| h["conversationId"] == conversation.as_str())
        .expect("the new conversation has changed");
    assert_eq!(head["lastSeq"], 120);
    let mut have = BTreeMap::new();
    let first = b.wait_for("sync-page", |d| d["conversationId"] == conversation.as_str());
    assert_eq!((first["messages"].as_array().unwrap().len(), &first["hasMore"]), (50, &json!(true)));
    first["messages"].as_array().unwrap().iter().for_each(|m| put(&mut have, m));

    a.say(&conversation, "message 121", "live-121"); // arrives live, between the pages
    catch_up(&mut b, &conversation, &mut have, 30);
    if !have.contains_key(&121) {
        let live = b.wait_for("new-message", |d| d["seqId"] == 121);
        put(&mut have, &live);
    }
    let all: Vec<(u64, String)> = have.into_iter().collect();
    let expected: Vec<(u64, String)> = (1..=121).map(|n| (n, format!("message {n}"))).collect();
    assert_eq!(all, expected);

    b.send("heads", json!({"conversations": {&conversation: 121, "world": 0}}));
    assert_eq!(b.wait_for("heads", |_| true)["changed"], json!([]), "nothing is left to fetch");
}

/// Deliveries and acks that a gateway has not read yet, at most: any burst drops some.
const SHORT: (&str, &str) = ("GOCHAT__QUEUE__MEMORY_MAX_RECORDS", "2");

#[test]
fn what_a_dropped_delivery_leaves_out_is_found_by_heads() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_as(data.path(), &[], &[SHORT]);
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let (mut a, mut b) = (server.connect(&ann), server.connect(&bob));
    // Bursts until one of them was too much; each ends with messages that leave no hole behind them.
    let mut sent = 0;
    until("a delivery is dropped", || {
        let keys: Vec<String> = (1..=40).map(|n| format!("d-{}", sent + n)).collect();
        a.say_all(&conversation, keys.iter().map(String::as_str));
        sent += keys.len();
        until("the burst is stored", || server.history(&ann, &conversation).len() == sent);
        server.metric("gateway_downstream_lost_total") > 0.0
    });
    // Whoever is concerned is told to compare heads; that finds the end, and pages bring the rest.
    b.wait_for("resync", |d| d["delayMs"].is_u64());
    b.send("heads", json!({"conversations": {&conversation: 0, "world": 0}}));
    let heads = b.wait_for("heads", |_| true);
    assert_eq!(heads["changed"][0]["lastSeq"], sent, "{heads}");
    let mut have = BTreeMap::new();
    catch_up(&mut b, &conversation, &mut have, 100);
    let expected: BTreeMap<u64, String> = (1..=sent).map(|n| (n as u64, format!("d-{n}"))).collect();
    assert_eq!(have, expected);
}

#[test]
fn a_crowd_behind_a_queue_that_drops_gets_everything() {
    // So many that they come in bursts: one by one they would be read in time on a machine with nothing else to do.
    let crowd = Crowd { in_pairs: 4, in_groups: &[4], in_world: 3, rate_per_s: 600.0, seed: 3 };
    let data = tempfile::tempdir().unwrap();
    let people = crowd.seed_users(data.path());
    let server = Server::start_as(data.path(), &[], &[SHORT]);
    let load = crowd.begin(&server, people);
    until("deliveries are dropped and resyncs sent", || load.progress().resyncs >= 11);
    wait_for_progress(&load, 100);
    judge(load);
}
