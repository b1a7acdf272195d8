//! Promise: groups, world, several devices and unread counts behave as people expect, over REST and WebSocket.
mod harness;

use harness::{Server, User, single};
use serde_json::{Value, json};

fn conversation_of(server: &Server, user: &User, id: &str) -> Value {
    let (status, list) = server.call("GET", "/api/conversations?limit=50", Some(&user.token), None);
    assert_eq!(status, 200, "{list}");
    list["conversations"]
        .as_array()
        .unwrap()
        .iter()
        .find(|c| c["conversationId"] == id)
        .cloned()
        .unwrap_or(Value::Null)
}

#[test]
fn a_group_from_its_making_to_a_member_leaving() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob, cid) = (server.user("ann"), server.user("bob"), server.user("cid"));
    let (mut a, mut b, mut c) = (server.connect(&ann), server.connect(&bob), server.connect(&cid));
    let make = json!({"name": "Tea", "memberIds": [bob.id]});
    let (status, group) = server.call("POST", "/api/groups", Some(&ann.token), Some(make));
    assert_eq!(status, 201, "{group}");
    let conversation = group["conversationId"].as_str().unwrap().to_owned();
    let members = format!("/api/groups/{}/members", group["groupId"].as_str().unwrap());
    b.wait_for("conversation-updated", |d| d["conversationId"] == conversation.as_str());

    a.say(&conversation, "who is in?", "g-1");
    assert_eq!(b.wait_for("new-message", |_| true)["content"], "who is in?");
    c.say(&conversation, "let me in", "g-2");
    let refused = c.wait_for("message-ack", |d| d["status"] == "rejected");
    assert_eq!(refused["code"], 1002, "a stranger may not write: {refused}");

    let (status, body) = server.call("POST", &members, Some(&ann.token), Some(json!({"userIds": [cid.id]})));
    assert_eq!(status, 204, "{body}");
    c.wait_for("conversation-updated", |d| d["conversationId"] == conversation.as_str());
    a.say(&conversation, "welcome", "g-3");
    let seen = c.wait_for("new-message", |_| true);
    assert_eq!((&seen["content"], &seen["seqId"]), (&json!("welcome"), &json!(2)));
    let history = format!("/api/conversations/{conversation}/messages?after_seq=0");
    let (_, page) = server.call("GET", &history, Some(&cid.token), None);
    assert_eq!(
        page["messages"].as_array().unwrap().len(),
        1,
        "what was said before he came stays hidden: {page}"
    );

    let leave = format!("{members}/{}", bob.id);
    assert_eq!(server.call("DELETE", &leave, Some(&cid.token), None).0, 403, "only the owner removes others");
    assert_eq!(server.call("DELETE", &leave, Some(&bob.token), None).0, 204);
    b.wait_for("conversation-updated", |d| d["change"] == "left");
    a.say(&conversation, "he is gone", "g-4");
    c.wait_for("new-message", |d| d["content"] == "he is gone");
    let (_, page) = server.call("GET", &history, Some(&bob.token), None);
    let last = page["messages"].as_array().unwrap().last().unwrap();
    assert_eq!(last["content"], "welcome", "what was said after he left stays hidden");

    let (status, list) = server.call("GET", &members, Some(&ann.token), None);
    assert_eq!(status, 200, "{list}");
    let names: Vec<&str> =
        list["members"].as_array().unwrap().iter().map(|m| m["username"].as_str().unwrap()).collect();
    assert_eq!(names, ["ann", "cid"]);
    assert_eq!(server.call("GET", &members, Some(&bob.token), None).0, 403);
}

#[test]
fn world_reaches_everybody_and_every_device() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let second = server.login("bob");
    assert_ne!(bob.device, second.device);
    let (mut a, mut b1, mut b2) = (server.connect(&ann), server.connect(&bob), server.connect(&second));
    a.say("world", "good morning", "w-1");
    for client in [&mut a, &mut b1, &mut b2] {
        assert_eq!(client.wait_for("new-message", |_| true)["content"], "good morning");
    }
    let late = server.user("late");
    let (_, page) =
        server.call("GET", "/api/conversations/world/messages?after_seq=0", Some(&late.token), None);
    assert_eq!(page["messages"], json!([]), "world begins at its head for who registers later");
}

#[test]
fn unread_counts_follow_what_was_read_anywhere() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let id = single(&ann, &bob);
    let (mut a, mut b) = (server.connect(&ann), server.connect(&bob));
    for n in 1..=3 {
        a.say(&id, "hey", &format!("u-{n}"));
        b.wait_for("new-message", |d| d["seqId"] == n);
    }
    assert_eq!(conversation_of(&server, &bob, &id)["unreadCount"], 3);
    assert_eq!(conversation_of(&server, &ann, &id)["unreadCount"], 0, "one has read what one wrote");
    assert_eq!(conversation_of(&server, &bob, &id)["name"], "ann");

    b.send("mark-read", json!({"conversationId": id, "seqId": 2}));
    let receipt = a.wait_for("receipt", |_| true);
    assert_eq!((&receipt["userId"], &receipt["seqId"]), (&json!(bob.id), &json!(2)));
    assert_eq!(conversation_of(&server, &bob, &id)["unreadCount"], 1);

    let read = format!("/api/conversations/{id}/read");
    assert_eq!(server.call("POST", &read, Some(&bob.token), Some(json!({"seqId": 1}))).0, 204);
    assert_eq!(conversation_of(&server, &bob, &id)["unreadCount"], 1, "a read pointer never moves back");
    assert_eq!(server.call("POST", &read, Some(&bob.token), Some(json!({"seqId": 3}))).0, 204);
    assert_eq!(conversation_of(&server, &bob, &id)["unreadCount"], 0);
}
