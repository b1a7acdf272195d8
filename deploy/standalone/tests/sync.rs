//! Promise: who was away gets everything: heads, pages in order, then live messages, with no gap and nothing twice that
//! (conversation, seq) doesn't remove.
mod harness;

use std::collections::BTreeMap;

use harness::{Client, Server, single};
use serde_json::{Value, json};

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

#[test]
fn a_message_sent_again_keeps_its_id_and_number() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let stored = |client: &mut Client| client.wait_for("message-ack", |d| d["status"] == "stored");
    let mut a = server.connect(&ann);
    a.say(&conversation, "once", "same-key");
    let first = stored(&mut a);
    a.say(&conversation, "once", "same-key");
    assert_eq!(stored(&mut a), first);

    server.kill();
    server.restart();
    let mut a = server.connect(&ann);
    a.say(&conversation, "once", "same-key");
    assert_eq!(stored(&mut a), first, "a restart changes nothing");

    a.say(&conversation, "something else", "same-key");
    let rejected = a.wait_for("message-ack", |d| d["status"] == "rejected");
    assert_eq!(rejected["code"], 1003, "{rejected}");
    a.say(&conversation, "next", "next-key");
    assert_eq!(stored(&mut a)["seqId"], 2, "no number was used up");
}
