//! Promise: who was away gets everything: heads, pages in order, then live messages, with no gap and nothing twice that
//! (conversation, seq) doesn't remove. A live delivery may be lost, also the last one, which leaves no hole: heads find it.
//! Method: pages and live messages as one client was given them go to a checker, which is tried on such as are broken; then a crowd
//! behind a downstream queue that is so short that it drops what it should deliver, judged by the load suite's checker (tried in
//! broken_histories.rs and perf/src/checker/tests.rs).
use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::harness::crowd::{Crowd, judge, wait_for_progress};
use crate::harness::{Client, Server, single, until};

/// What one client was given of one conversation.
#[derive(Default)]
struct Given {
    /// The seq after which each page was asked for, and its messages.
    pages: Vec<(u64, Vec<Value>)>,
    live: Vec<Value>,
}

fn seq(message: &Value) -> u64 {
    message["seqId"].as_u64().expect("a seq")
}

impl Given {
    /// The last seq up to which pages gave everything.
    fn synced(&self) -> u64 {
        self.pages.iter().flat_map(|(_, page)| page).map(seq).max().unwrap_or(0)
    }

    /// Each page goes on without a hole from where it was asked for; (conversation, seq) tells what is a copy; and in the end these
    /// contents are there, from seq 1 on, and nothing else.
    fn is_all_of(&self, contents: &[String]) -> Result<(), String> {
        let mut by_seq: BTreeMap<u64, (&Value, &Value)> = BTreeMap::new();
        for (after, page) in &self.pages {
            let seqs: Vec<u64> = page.iter().map(seq).collect();
            if !seqs.iter().copied().eq((after + 1..).take(seqs.len())) {
                return Err(format!("a page after {after} holds {seqs:?}"));
            }
        }
        for message in self.pages.iter().flat_map(|(_, page)| page).chain(&self.live) {
            let what = (&message["messageId"], &message["content"]);
            if *by_seq.entry(seq(message)).or_insert(what) != what {
                return Err(format!("seq {} means two messages", message["seqId"]));
            }
        }
        let given: Vec<(u64, &str)> =
            by_seq.iter().map(|(seq, (_, content))| (*seq, content.as_str().expect("content"))).collect();
        let expected: Vec<(u64, &str)> = (1..).zip(contents.iter().map(String::as_str)).collect();
        if given == expected { Ok(()) } else { Err(format!("given {given:?}, not {expected:?}")) }
    }
}

/// Everything after what `given` holds, page by page, and what comes live meanwhile.
fn catch_up(client: &mut Client, conversation: &str, given: &mut Given, limit: usize) {
    loop {
        let after = given.synced();
        client.send("sync", json!({"conversationId": conversation, "afterSeq": after, "limit": limit}));
        let page = loop {
            let mut frame = client.next();
            match frame["type"].as_str() {
                Some("sync-page") => break frame["data"].take(),
                Some("new-message") => given.live.push(frame["data"].take()),
                _ => {}
            }
        };
        let messages = page["messages"].as_array().expect("messages").clone();
        assert!(messages.len() <= limit, "a page is bounded");
        given.pages.push((after, messages));
        if page["hasMore"] == json!(false) {
            return;
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
    let mut given = Given::default();
    let first = b.wait_for("sync-page", |d| d["conversationId"] == conversation.as_str());
    let page = first["messages"].as_array().unwrap();
    assert_eq!((page.len(), &first["hasMore"]), (50, &json!(true)));
    given.pages.push((0, page.clone()));

    a.say(&conversation, "message 121", "live-121"); // arrives live, between the pages
    catch_up(&mut b, &conversation, &mut given, 30);
    if given.synced() < 121 && given.live.is_empty() {
        given.live.push(b.wait_for("new-message", |d| d["seqId"] == 121));
    }
    let expected: Vec<String> = (1..=121).map(|n| format!("message {n}")).collect();
    given.is_all_of(&expected).unwrap();

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
    let mut given = Given::default();
    catch_up(&mut b, &conversation, &mut given, 100);
    let expected: Vec<String> = (1..=sent).map(|n| format!("d-{n}")).collect();
    given.is_all_of(&expected).unwrap();
}

#[test]
fn a_crowd_behind_a_queue_that_drops_gets_everything() {
    // So many that they come in bursts: one by one they would be read in time on a machine with nothing else to do. Of a burst only
    // the last two answers arrive, and the others are asked for again after three seconds: few may be open.
    let crowd = Crowd { in_pairs: 4, in_groups: &[4], in_world: 3, rate_per_s: 600.0, open_max: 8, seed: 3 };
    let data = tempfile::tempdir().unwrap();
    let people = crowd.seed_users(data.path());
    let server = Server::start_as(data.path(), &[], &[SHORT]);
    let load = crowd.begin(&server, people);
    until("deliveries are dropped and resyncs sent", || load.progress().resyncs >= 11);
    wait_for_progress(&load, 100);
    judge(load);
}

#[test]
fn what_was_not_given_or_not_so_is_found() {
    let message = |seq: u64, content: &str| json!({"messageId": (90 + seq).to_string(), "content": content, "seqId": seq});
    let contents: Vec<String> = ["a", "b", "c", "d"].map(str::to_owned).into();
    let sound = || {
        let all: Vec<Value> = (1..).zip(&contents).map(|(seq, content)| message(seq, content)).collect();
        let pages = vec![(0, all[..2].to_vec()), (2, all[2..3].to_vec())];
        Given { pages, live: vec![all[3].clone(), all[1].clone()] }
    };
    assert_eq!(sound().is_all_of(&contents), Ok(()), "a copy is no fault");
    let is_found = |what: &str, break_it: &dyn Fn(&mut Given)| {
        let mut given = sound();
        break_it(&mut given);
        assert!(given.is_all_of(&contents).is_err(), "{what}");
    };
    is_found("the last one is lost", &|given| drop(given.live.remove(0)));
    is_found("the end of the pages is lost", &|given| drop(given.pages.pop()));
    is_found("a hole in a page", &|given| drop(given.pages[0].1.remove(0)));
    is_found("a page that runs backwards", &|given| given.pages[0].1.reverse());
    is_found("a page that begins too late", &|given| given.pages[1].0 = 1);
    is_found("one twice in a page", &|given| given.pages[1].1.push(message(3, "c")));
    is_found("a copy with other content", &|given| given.live[1]["content"] = "x".into());
    is_found("a copy with another id", &|given| given.live[1]["messageId"] = "7".into());
    is_found("another message in its place", &|given| given.live[0]["content"] = "x".into());
    is_found("the same message at a second place", &|given| given.live.push(message(5, "d")));
    is_found("two that changed places", &|given| {
        given.pages[0].1 = vec![message(1, "b"), message(2, "a")];
        given.live.pop();
    });
}
