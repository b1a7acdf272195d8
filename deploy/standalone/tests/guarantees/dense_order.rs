//! Promise: in a conversation seqs are 1, 2, 3, … for all members alike, and one sender's messages keep his order, also when some of
//! them are answered with `retry`: then the gateway refuses all later ones of that connection until the first refused one returns.
//! Method: several members of a group write bursts that exceed what a connection may have waiting, and follow the rule book;
//! the witness gives what each was told and saw to the checker, which is tried here on an order that was not kept, and in
//! broken_histories.rs on all else.
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::witness::Witness;
use crate::harness::{Client, Server, User, until};

const WRITERS: usize = 4;
const MESSAGES: usize = 60;

/// What a writer was told and given while he wrote.
#[derive(Default)]
struct Story {
    acks: Vec<Value>,
    live: Vec<Value>,
    retries: usize,
}

/// Sends all of `keys` in order until each is final, as the rule book asks: after a `retry` it waits, then sends
/// everything that is not final again, in the old order.
fn write_all(client: &mut Client, conversation: &str, keys: &[String]) -> Story {
    let mut story = Story::default();
    let mut open: Vec<&str> = keys.iter().map(String::as_str).collect();
    while !open.is_empty() {
        client.say_all(conversation, open.iter().copied());
        let (mut waiting, mut pause_ms) = (open.clone(), 0);
        while !waiting.is_empty() {
            let frame = client.next();
            let data = &frame["data"];
            match (frame["type"].as_str(), data["status"].as_str()) {
                (Some("new-message"), _) => story.live.push(data.clone()),
                (Some("message-ack"), Some("retry")) => {
                    story.retries += 1;
                    pause_ms = pause_ms.max(data["retryAfterMs"].as_u64().expect("it says when"));
                    waiting.retain(|key| data["tempMessageId"] != *key);
                }
                (Some("message-ack"), Some("stored" | "rejected")) => {
                    story.acks.push(data.clone());
                    waiting.retain(|key| data["tempMessageId"] != *key);
                    open.retain(|key| data["tempMessageId"] != *key);
                }
                _ => {}
            }
        }
        std::thread::sleep(Duration::from_millis(pause_ms)); // what the server asked for
    }
    story
}

#[test]
fn many_writers_share_one_dense_order_and_retries_keep_each_ones_own() {
    let data = tempfile::tempdir().unwrap();
    let few = [("GOCHAT__GATEWAY__UPSTREAM__IN_FLIGHT_PER_CONNECTION_MAX", "8")];
    let server = Server::start_as(data.path(), &[], &few);
    let people: Vec<User> = (0..WRITERS).map(|n| server.user(&format!("writer-{n}"))).collect();
    let members: Vec<&User> = people.iter().collect();
    let (_, conversation) = server.group(members[0], &members[1..]);
    let mut witness = Witness::new(&conversation, &members);
    let keys: Vec<Vec<String>> =
        (0..WRITERS).map(|writer| (0..MESSAGES).map(|n| format!("w{writer}-{n}")).collect()).collect();
    for (writer, keys) in keys.iter().enumerate() {
        keys.iter().for_each(|key| witness.wrote(writer, key));
    }
    let mut clients: Vec<Client> = people.iter().map(|user| server.connect(user)).collect();
    let stories: Vec<Story> = std::thread::scope(|scope| {
        let running: Vec<_> = clients
            .iter_mut()
            .zip(&keys)
            .map(|(client, keys)| scope.spawn(|| write_all(client, &conversation, keys)))
            .collect();
        running.into_iter().map(|writer| writer.join().expect("a writer")).collect()
    });
    for (member, (story, user)) in stories.iter().zip(&people).enumerate() {
        assert!(story.retries > 0, "a burst of {MESSAGES} exceeds what may wait");
        story.acks.iter().for_each(|ack| witness.acked(ack));
        witness.delivered(member, &story.live);
        let all = server.history(user, &conversation);
        witness.caught_up(member, &all);
        witness.page(member, &all);
    }
    witness.judge().unwrap();
}

#[test]
fn a_retry_holds_back_the_later_ones_until_the_first_returns() {
    let data = tempfile::tempdir().unwrap();
    let one = [("GOCHAT__GATEWAY__UPSTREAM__IN_FLIGHT_PER_CONNECTION_MAX", "1")];
    let server = Server::start_as(data.path(), &[], &one);
    let ann = server.user("ann");
    let mut a = server.connect(&ann);
    let first_answers = |client: &mut Client, keys: &[&str]| -> Vec<(String, String)> {
        client.say_all("world", keys.iter().copied());
        let mut answers: Vec<(String, String)> = Vec::new();
        while answers.len() < keys.len() {
            let ack = client.wait_for("message-ack", |d| d["status"] != "stored");
            let text = |name: &str| ack[name].as_str().expect("a text").to_owned();
            answers.push((text("tempMessageId"), text("status")));
        }
        answers.sort();
        answers
    };
    let pair = |key: &str, status: &str| (key.to_owned(), status.to_owned());
    let burst = first_answers(&mut a, &["k1", "k2", "k3"]);
    assert_eq!(burst, [pair("k1", "accepted"), pair("k2", "retry"), pair("k3", "retry")]);
    assert_eq!(first_answers(&mut a, &["k3"]), [pair("k3", "retry")], "its turn has not come");
    assert_eq!(first_answers(&mut a, &["k2"]), [pair("k2", "accepted")]);
    assert_eq!(first_answers(&mut a, &["k3"]), [pair("k3", "accepted")]);
    let mut contents: Vec<Value> = Vec::new();
    until("all three are stored", || {
        contents = server.history(&ann, "world").iter().map(|m| m["content"].clone()).collect();
        contents.len() == 3
    });
    assert_eq!(contents, ["k1", "k2", "k3"]);
}

#[test]
fn an_order_that_was_not_kept_is_found() {
    let user = |id: &str| User { id: id.into(), token: String::new(), device: String::new() };
    let message = |seq: u64, key: &str| json!({"messageId": (90 + seq).to_string(), "sender": "1", "content": key, "clientMsgId": key, "seqId": seq});
    let judge = |pages: [&[(u64, &str)]; 2]| {
        let mut witness = Witness::new("group_7", &[&user("1"), &user("2")]);
        ["k1", "k2", "k3"].iter().for_each(|key| witness.wrote(0, key));
        for (member, page) in pages.into_iter().enumerate() {
            let messages: Vec<Value> = page.iter().map(|(seq, key)| message(*seq, key)).collect();
            witness.delivered(member, &messages);
            witness.page(member, &messages);
        }
        witness.verdict()
    };
    let good: &[(u64, &str)] = &[(1, "k1"), (2, "k2"), (3, "k3")];
    assert!(judge([good, good]).holds());
    let overtaken: &[(u64, &str)] = &[(1, "k1"), (2, "k3"), (3, "k2")];
    assert!(judge([overtaken, overtaken]).out_of_order > 0, "the sender's own order");
    assert!(judge([good, overtaken]).out_of_order > 0, "an order of one's own");
    let gap: &[(u64, &str)] = &[(1, "k1"), (3, "k2"), (4, "k3")];
    assert!(judge([gap, gap]).gaps > 0);
}
