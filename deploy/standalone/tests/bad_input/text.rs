//! SQL, HTML and stranger things in what is said and in names: what goes in comes out byte for byte, and nothing else changes.
//! The fields of an account and those that have a grammar: fields.rs.
use serde_json::{Value, json};

use crate::House;
use crate::harness::single;

/// Put together at random (fixed seed), so that each text holds several of them.
pub(crate) const PIECES: &[&str] = &[
    "'",
    "\"",
    "`",
    ";",
    "--",
    "/*",
    "*/",
    "\\",
    "\\'",
    "%",
    "_",
    "%27",
    "NULL",
    "0x27",
    "?1",
    ":name",
    "$1",
    "@x",
    "'; DROP TABLE messages;--",
    "' OR '1'='1",
    "\" OR \"\"=\"",
    "UNION SELECT password_hash FROM users",
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "</title>",
    "&lt;",
    "&#39;",
    "<!--",
    "]]>",
    "{{7*7}}",
    "${jndi:ldap://x}",
    "%s%n",
    "\u{202e}",
    "\u{200b}",
    "\u{feff}",
    "é",
    "e\u{301}",
    "ß",
    "İ",
    "漢字",
    "🙂",
    "👩‍👩‍👧",
    "\u{10ffff}",
    "{\"type\":\"ping\"}",
    "\\u0000",
    "\\n",
    "../..",
    "C:\\",
    "javascript:",
    " ",
    "  x",
    "x  ",
];

/// Only a message may hold these.
pub(crate) const CONTROLS: &[&str] = &["\n", "\r\n", "\t", "\u{0}", "\u{1b}[31m", "\u{7f}", "\u{2028}"];

pub(crate) fn compose(rng: &mut fastrand::Rng, pieces: &[&str], most_chars: usize) -> String {
    loop {
        let text: String = (0..rng.usize(1..=5)).map(|_| pieces[rng.usize(..pieces.len())]).collect();
        if text.chars().count() <= most_chars && !text.trim().is_empty() {
            return text;
        }
    }
}

/// As it stands in a path or a query.
pub(crate) fn escaped(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

/// What Ann has, as she sees it.
pub(crate) fn belongings(house: &House) -> Value {
    let get = |path: &str| house.server.call("GET", path, Some(&house.ann.token), None).1;
    let conversation = single(&house.ann, &house.bob);
    json!([
        get("/api/users/me"),
        get(&format!("/api/users?ids={},{}", house.ann.id, house.bob.id)),
        get(&format!("/api/groups/{}/members", house.group_id)),
        get(&format!("/api/conversations/{conversation}/messages?after_seq=0")),
        get(&format!("/api/conversations/group_{}/messages?after_seq=0", house.group_id)),
    ])
}

#[test]
fn what_goes_in_comes_out_and_nothing_else_changes() {
    let mut house = House::open();
    house.is_well("the beginning");
    let before = belongings(&house);
    let mut rng = fastrand::Rng::with_seed(11);
    let all: Vec<&str> = PIECES.iter().chain(CONTROLS).copied().collect();
    let mut client = house.server.connect(&house.mal);
    let own = format!("/api/conversations/{}/messages", single(&house.mal, &house.bob));
    for round in 1..=60_u64 {
        let name = compose(&mut rng, PIECES, 100);
        let me = house.server.call(
            "PATCH",
            "/api/users/me",
            Some(&house.mal.token),
            Some(json!({"displayName": name})),
        );
        assert_eq!((me.0, &me.1["displayName"]), (200, &json!(name)), "{}", me.1);
        let found = house.server.call("GET", "/api/users?username=mal", Some(&house.bob.token), None).1;
        assert_eq!(found["displayName"], json!(name));
        // As a name to look for it finds nobody: it is none.
        let path = format!("/api/users?username={}", escaped(&name));
        let (status, answer) = house.server.call("GET", &path, Some(&house.mal.token), None);
        assert!(matches!(status, 400 | 404), "{name:?}: {answer}");

        let content = compose(&mut rng, &all, 2_000);
        let conversation = single(&house.mal, &house.bob);
        client.say(&conversation, &content, &format!("t-{round}"));
        let live = client.wait_for("new-message", |d| d["conversationId"] == conversation.as_str());
        assert_eq!((&live["content"], live["seqId"].as_u64()), (&json!(content), Some(round)));
        client.send("sync", json!({"conversationId": conversation, "afterSeq": round - 1}));
        let page = client.wait_for("sync-page", |d| d["conversationId"] == conversation.as_str());
        assert_eq!(page["messages"], json!([live]), "a page says the same");
        let (_, page) =
            house.server.call("GET", &format!("{own}?after_seq={}", round - 1), Some(&house.bob.token), None);
        assert_eq!(page["messages"], json!([live]), "and so does REST");
    }
    for _ in 0..10 {
        let (name, description) = (compose(&mut rng, PIECES, 100), compose(&mut rng, &all, 500));
        let make = json!({"name": name, "description": description});
        let (status, made) = house.server.call("POST", "/api/groups", Some(&house.mal.token), Some(make));
        assert_eq!(status, 201, "{name:?} {description:?}: {made}");
        let (_, list) =
            house.server.call("GET", "/api/conversations?limit=100", Some(&house.mal.token), None);
        let entry = list["conversations"]
            .as_array()
            .expect("conversations")
            .iter()
            .find(|c| c["conversationId"] == made["conversationId"])
            .expect("the new group is listed");
        assert_eq!(entry["name"], json!(name));
    }
    assert_eq!(belongings(&house), before, "what is Ann's stayed as it was");
    house.is_well("all that");
}
