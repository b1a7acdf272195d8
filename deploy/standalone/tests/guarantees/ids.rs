//! Promise: ids only grow, whatever the clock does: nothing is drawn below the kept timestamp; and an id that is taken already is drawn anew.
//! Method: the file with the kept timestamp is put ahead of the clock, which is what a clock that went back looks like; then it is put
//! back to where it was, so that ids which are stored are drawn again. A checker looks at ids and seqs, and is tried on such as are wrong.
use std::path::Path;

use serde_json::Value;

use crate::harness::{Server, User};

const CONFLICTS: &str = r#"logic_pipeline_retries_total{reason="id-conflict"}"#;

/// Says `count` things in world, one after the other.
fn say(server: &Server, user: &User, run: &str, count: usize) {
    let mut client = server.connect(user);
    for n in 0..count {
        let key = format!("{run}-{n}");
        client.say("world", &key, &key);
        client.wait_for("message-ack", |d| d["status"] == "stored" && d["tempMessageId"] == key.as_str());
    }
}

fn kept(data: &Path) -> u64 {
    std::fs::read_to_string(data.join("ids")).expect("the file is there").trim().parse().expect("a timestamp")
}

/// Every id once; with `growing`, each above the one before, as the seqs are.
fn ids_are_sound(messages: &[Value], growing: bool) -> Result<(), String> {
    let mut ids: Vec<u64> = Vec::new();
    for (at, message) in messages.iter().enumerate() {
        let id: u64 = message["messageId"].as_str().and_then(|id| id.parse().ok()).ok_or("no id")?;
        if message["seqId"].as_u64() != Some(at as u64 + 1) {
            return Err(format!("seq {} at place {}", message["seqId"], at + 1));
        }
        if ids.contains(&id) || (growing && ids.last().is_some_and(|last| *last > id)) {
            return Err(format!("id {id} after {ids:?}"));
        }
        ids.push(id);
    }
    Ok(())
}

#[test]
fn a_clock_that_goes_back_gives_no_smaller_id() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let ann = server.user("ann");
    say(&server, &ann, "before", 3);
    assert!(server.terminate().success());
    // The clock of the last run was an hour ahead.
    let ahead = kept(data.path()) + 3_600_000;
    std::fs::write(data.path().join("ids"), ahead.to_string()).unwrap();
    server.restart();
    say(&server, &ann, "after", 3);
    server.kill();
    server.restart();
    say(&server, &ann, "killed", 3);
    let all = server.history(&ann, "world");
    assert_eq!(all.len(), 9);
    ids_are_sound(&all, true).unwrap();
    let last: u64 = all[8]["messageId"].as_str().unwrap().parse().unwrap();
    assert!(last >> 22 >= ahead, "the kept timestamp is the least that is used");
}

#[test]
fn an_id_that_is_taken_is_drawn_anew() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let ann = server.user("ann");
    assert!(server.terminate().success());
    let ahead = (kept(data.path()) + 3_600_000).to_string();
    for run in ["first", "second"] {
        // Both runs begin at the same id.
        std::fs::write(data.path().join("ids"), &ahead).unwrap();
        server.restart();
        say(&server, &ann, run, 5);
        let conflicts = server.metric(CONFLICTS);
        assert_eq!(conflicts > 0.0, run == "second", "{conflicts} conflicts in the {run} run");
        assert!(server.terminate().success());
    }
    server.restart();
    let all = server.history(&ann, "world");
    assert_eq!(all.len(), 10);
    ids_are_sound(&all, false).unwrap();
}

#[test]
fn ids_that_shrink_or_repeat_are_found() {
    let messages = |ids: &[u64]| -> Vec<Value> {
        let one = |(at, id): (usize, &u64)| serde_json::json!({"messageId": id.to_string(), "seqId": at + 1});
        ids.iter().enumerate().map(one).collect()
    };
    assert!(ids_are_sound(&messages(&[5, 6, 9]), true).is_ok());
    assert!(ids_are_sound(&messages(&[5, 9, 6]), false).is_ok());
    assert!(ids_are_sound(&messages(&[5, 9, 6]), true).is_err());
    assert!(ids_are_sound(&messages(&[5, 6, 5]), false).is_err());
    assert!(ids_are_sound(&messages(&[5, 6])[1..], true).is_err(), "a seq is missing");
}
