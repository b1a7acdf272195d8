//! Promise: a reader who stops reading costs nobody else anything and the server a bounded amount: what waits for him is cut off at his
//! budget, he is closed with 1013, and he finds everything when he comes back. Above what the server takes it answers `retry` and
//! recovers by itself.
//! Method: one member of a group stops reading while megabytes are said in it; the witness gives what the others were told and given
//! to the checker (tried on broken ones in broken_histories.rs). Memory is the process's own, with room for what allocators keep;
//! its check is tried on a process that keeps what it is given.
use std::io::Write;
use std::process::{Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::witness::Witness;
use crate::harness::{Client, Server, User, until};

/// Beyond what the kernel's socket buffers take.
const MESSAGES: usize = 1_500;
/// On the wire without a final answer: far below what a connection may have waiting for it.
const WINDOW: usize = 8;
/// Nothing is this large by itself: a leak or an unbounded queue of what is said below would be larger.
const GROWTH_MAX_BYTES: u64 = 96 << 20;

/// So much from one sender at once is more than the rates allow.
const FAST: [(&str, &str); 2] = [
    ("GOCHAT__GATEWAY__RATES__CONNECTION_SENDS_BURST", "10000"),
    ("GOCHAT__GATEWAY__RATES__USER_SENDS_BURST", "10000"),
];

/// The resident memory of a process.
fn resident_bytes(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the process is there");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").trim().parse::<u64>().expect("a number") << 10
}

/// No more than the bound above what it was before.
fn is_bounded(pid: u32, before: u64) -> Result<(), String> {
    let grown = resident_bytes(pid).saturating_sub(before);
    if grown < GROWTH_MAX_BYTES { Ok(()) } else { Err(format!("{grown} bytes more than before")) }
}

/// Content that the witness knows by its key alone would be too short here: padded, and checked by its length.
fn long(key: &str) -> String {
    format!("{key}{}", ".".repeat(8_000 - key.len()))
}

/// As the application sees it: the content without its padding.
fn unpadded(message: &Value) -> Value {
    let mut message = message.clone();
    let content = message["content"].as_str().expect("content");
    assert_eq!(content.len(), 8_000);
    message["content"] = content.trim_end_matches('.').into();
    message
}

/// Says everything with few on the wire at a time, and notes what she is told and given.
fn say_all(a: &mut Client, conversation: &str, witness: &mut Witness) {
    let mut open = 0;
    for n in 0..MESSAGES {
        let key = format!("long-{n}");
        witness.wrote(0, &key);
        a.say(conversation, &long(&key), &key);
        open += 1;
        while open >= WINDOW || (n + 1 == MESSAGES && open > 0) {
            let frame = a.next();
            match frame["type"].as_str() {
                Some("message-ack") => {
                    assert_ne!(frame["data"]["status"], "retry", "{frame}");
                    open -= usize::from(frame["data"]["status"] == "stored");
                    witness.acked(&frame["data"]);
                }
                Some("new-message") => witness.delivered(0, &[unpadded(&frame["data"])]),
                _ => {}
            }
        }
    }
}

#[test]
fn a_reader_who_stops_costs_the_others_nothing() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_as(data.path(), &[], &FAST);
    let people: Vec<User> = ["ann", "bob", "slow"].iter().map(|name| server.user(name)).collect();
    let members: Vec<&User> = people.iter().collect();
    let connect = |user: &User| {
        let mut client = server.connect(user);
        // Answered once whoever routes messages knows of the connection.
        client.send("heads", json!({"conversations": {}}));
        client.wait_for("heads", |_| true);
        client
    };
    let (mut a, mut b, mut slow) = (connect(members[0]), connect(members[1]), connect(members[2]));
    let (_, conversation) = server.group(members[0], &members[1..]);
    let before = resident_bytes(server.pid());
    let mut witness = Witness::new(&conversation, &members);

    let reader = std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut got = Vec::new();
            let last = format!("long-{}", MESSAGES - 1);
            while got.last().is_none_or(|message: &Value| message["clientMsgId"] != last.as_str()) {
                got.push(unpadded(&b.wait_for("new-message", |_| true)));
            }
            got
        });
        say_all(&mut a, &conversation, &mut witness);
        reader.join().expect("Bob reads")
    });
    assert!(reader.len() > MESSAGES / 2, "Bob was given {} of {MESSAGES} live", reader.len());
    witness.delivered(1, &reader);
    is_bounded(server.pid(), before).unwrap();
    // 1013 waits behind what he has not read; who reads too late finds the connection cut.
    assert!(matches!(slow.wait_for_close(), Some(1013) | None));
    until("his end is counted", || server.metric(r#"gateway_edge_closes_total{reason="slow_reader"}"#) > 0.0);

    // He comes back and has it all.
    let mut slow = server.connect(members[2]);
    loop {
        let after = witness.has(2);
        slow.send("sync", json!({"conversationId": conversation, "afterSeq": after, "limit": 100}));
        let page = slow.wait_for("sync-page", |d| d["conversationId"] == conversation.as_str());
        let messages: Vec<Value> =
            page["messages"].as_array().expect("messages").iter().map(unpadded).collect();
        witness.delivered(2, &messages);
        if page["hasMore"] == json!(false) {
            break;
        }
    }
    for (member, user) in members.iter().enumerate() {
        let all: Vec<Value> = server.history(user, &conversation).iter().map(unpadded).collect();
        witness.caught_up(member, &all);
        witness.page(member, &all);
    }
    witness.judge().unwrap();
}

#[test]
fn what_is_too_much_is_refused_and_served_later() {
    let data = tempfile::tempdir().unwrap();
    let few = [("GOCHAT__GATEWAY__UPSTREAM__IN_FLIGHT_PER_SHARD_MAX", "16")];
    let server = Server::start_as(data.path(), &[], &few);
    let before = resident_bytes(server.pid());
    let ann = server.user("ann");
    let keys: Vec<String> = (0..40).map(|n| format!("much-{n}")).collect();
    let mut witness = Witness::new("world", &[&ann]);
    keys.iter().for_each(|key| witness.wrote(0, key));
    let mut retries = 0;
    let mut client = server.connect(&ann);
    let mut open: Vec<&str> = keys.iter().map(String::as_str).collect();
    until("everything is stored", || {
        client.say_all("world", open.iter().copied());
        let mut pause_ms = 0;
        let mut waiting = open.clone();
        while !waiting.is_empty() {
            let ack = client.wait_for("message-ack", |d| d["status"] != "accepted");
            waiting.retain(|key| ack["tempMessageId"] != *key);
            witness.acked(&ack);
            if ack["status"] == "stored" {
                open.retain(|key| ack["tempMessageId"] != *key);
            } else {
                assert_eq!(ack["status"], "retry", "{ack}");
                retries += 1;
                pause_ms = ack["retryAfterMs"].as_u64().expect("it says when");
            }
        }
        std::thread::sleep(Duration::from_millis(pause_ms)); // what the server asked for
        open.is_empty()
    });
    assert!(retries > 0, "more at once than the shard takes");
    let all = server.history(&ann, "world");
    witness.caught_up(0, &all);
    witness.page(0, &all);
    witness.judge().unwrap();
    is_bounded(server.pid(), before).unwrap();
}

#[test]
fn a_process_that_keeps_everything_is_found() {
    // It waits for the end of a line that never ends.
    let mut tail = Command::new("tail").args(["-n", "1"]).stdin(Stdio::piped()).spawn().expect("tail runs");
    let before = resident_bytes(tail.id());
    is_bounded(tail.id(), before).unwrap();
    let mut input = tail.stdin.take().expect("a pipe");
    let piece = vec![b'x'; 1 << 20];
    (0..2 * (GROWTH_MAX_BYTES >> 20)).for_each(|_| input.write_all(&piece).expect("tail reads"));
    assert!(is_bounded(tail.id(), before).is_err());
    tail.kill().and_then(|()| tail.wait()).expect("tail ends");
}
