//! Promise: a message goes from one person's socket through every part to the other's, and stays.
//! Method: one real process on an empty data folder, REST and WebSocket clients that share no code with it.
mod harness;

use harness::{Server, single, until};
use serde_json::json;

#[test]
fn two_people_chat() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let (mut a, mut b) = (server.connect(&ann), server.connect(&bob));

    a.say(&conversation, "Hello, Bob", "a-1");
    let accepted = a.wait_for("message-ack", |d| d["tempMessageId"] == "a-1");
    assert_eq!(accepted["status"], "accepted", "{accepted}");
    let stored = a.wait_for("message-ack", |d| d["tempMessageId"] == "a-1");
    assert_eq!((&stored["status"], &stored["seqId"]), (&json!("stored"), &json!(1)), "{stored}");

    let seen = b.wait_for("new-message", |_| true);
    assert_eq!(seen["content"], "Hello, Bob");
    assert_eq!(seen["sender"], json!(ann.id));
    assert_eq!(seen["messageId"], stored["messageId"]);

    b.say(&conversation, "Hello, Ann", "b-1");
    assert_eq!(a.wait_for("new-message", |d| d["sender"] == json!(bob.id))["seqId"], 2);

    let path = format!("/api/conversations/{conversation}/messages?after_seq=0&limit=10");
    let (status, page) = server.call("GET", &path, Some(&ann.token), None);
    assert_eq!(status, 200, "{page}");
    let contents: Vec<&str> =
        page["messages"].as_array().unwrap().iter().map(|m| m["content"].as_str().unwrap()).collect();
    assert_eq!(contents, ["Hello, Bob", "Hello, Ann"]);
    assert_eq!(page["messages"][0], seen, "a message reads the same live and over REST");
}

#[test]
fn a_duplicated_tab_that_closes_leaves_the_first_one_its_messages() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob, cid) = (server.user("ann"), server.user("bob"), server.user("cid"));
    let conversation = single(&ann, &bob);
    let (mut a, mut first, mut tab) = (server.connect(&ann), server.connect(&bob), server.connect(&bob));
    a.say(&conversation, "both see it", "t-1");
    first.wait_for("new-message", |d| d["content"] == "both see it");
    tab.wait_for("new-message", |d| d["content"] == "both see it");

    drop(tab);
    until("the server knows that the tab is gone", || {
        server.metric("gateway_connections_closed_total") > 0.0
    });
    // Reports keep their order, and heads are answered once the asker's is written: so the tab's end is, too.
    let mut c = server.connect(&cid);
    c.send("heads", json!({}));
    c.wait_for("heads", |_| true);
    a.say(&conversation, "still there?", "t-2");
    first.wait_for("new-message", |d| d["content"] == "still there?");
}

#[test]
fn a_rest_page_is_as_long_as_documented() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let mut a = server.connect(&ann);
    // The last one is stored: so are those before it. Fewer at once than a connection may have in flight.
    let keys: Vec<String> = (1..=210).map(|i| format!("p-{i}")).collect();
    for some in keys.chunks(30) {
        a.say_all(&conversation, some.iter().map(String::as_str));
        let last = some.last().unwrap();
        a.wait_for("message-ack", |d| d["tempMessageId"] == last.as_str() && d["status"] == "stored");
    }
    for (limit, length) in [(150, 150), (200, 200), (201, 200)] {
        let path = format!("/api/conversations/{conversation}/messages?after_seq=0&limit={limit}");
        let (status, page) = server.call("GET", &path, Some(&bob.token), None);
        assert_eq!(status, 200, "{page}");
        assert_eq!(page["messages"].as_array().unwrap().len(), length, "limit {limit}");
        assert_eq!(page["hasMore"], true);
    }
}
