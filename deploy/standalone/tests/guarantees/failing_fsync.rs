//! Promise: a failing fsync never acknowledges, and ends the process with the reason; what was acknowledged before it is kept.
//! Method: the queue's nth fsync is made to fail; a client sends one message after the other until the socket dies, then
//! a healthy process opens the same folder.
use std::collections::BTreeSet;

use serde_json::json;

use crate::harness::{Server, single};

#[test]
fn a_failing_fsync_never_acknowledges() {
    let data = tempfile::tempdir().unwrap();
    let fault = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(fault.path(), "[queue]\nfault_fsync_at = 12\n").unwrap();
    let mut server = Server::start_with(data.path(), &["--config", fault.path().to_str().unwrap()]);
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let mut a = server.connect(&ann);
    let mut accepted = BTreeSet::new();
    for n in 1..=100 {
        let id = format!("f-{n}");
        if !a.try_say(&conversation, &id, &id) {
            break;
        }
        // Wait for this one's acceptance, so that each message needs an fsync of its own.
        let mut done = false;
        while let Some(frame) = a.try_next() {
            if frame["type"] == "message-ack" && frame["data"]["status"] == "accepted" {
                accepted.insert(frame["data"]["tempMessageId"].as_str().unwrap().to_owned());
                done = true;
                break;
            }
        }
        if !done {
            break;
        }
    }
    let status = server.wait();
    assert_eq!(status.code(), Some(74), "the process ends and says that storage failed");
    assert!(!accepted.is_empty() && accepted.len() < 12, "{} accepted", accepted.len());

    let server = Server::start(data.path());
    let bob = server.login("bob");
    let mut b = server.connect(&bob);
    b.send("heads", json!({"conversations": {}}));
    b.wait_for("heads", |_| true);
    // The queue is drained in the background: what is not stored yet arrives live.
    let mut seen = BTreeSet::new();
    b.send("sync", json!({"conversationId": conversation, "afterSeq": 0, "limit": 100}));
    while !accepted.is_subset(&seen) {
        let frame = b.next();
        let messages = match frame["type"].as_str() {
            Some("sync-page") => frame["data"]["messages"].as_array().unwrap().clone(),
            Some("new-message") => vec![frame["data"].clone()],
            Some("error") => {
                // Nothing of the conversation is stored yet: ask again.
                b.send("sync", json!({"conversationId": conversation, "afterSeq": 0, "limit": 100}));
                continue;
            }
            _ => continue,
        };
        seen.extend(messages.iter().map(|m| m["content"].as_str().unwrap().to_owned()));
    }
}
