//! Promise: the store has an epoch that every `hello`, `heads` and `sync-page` carries; when older data takes the store's place the epoch is
//! higher, so that a client drops what it has and syncs.
//! Method: the epoch of a stopped server's store is raised, as a restore does it; the frames of before and after go to a checker,
//! which is tried on frames that disagree.
use serde_json::{Value, json};

use crate::harness::{Client, Server, User, single};

/// The epochs that one connection heard of.
fn epochs(server: &Server, user: &User, conversation: &str) -> Vec<Option<u64>> {
    let bearer = format!("Bearer {}", user.token);
    let mut client: Client =
        server.upgrade("/ws", &[("Authorization", &bearer)]).expect("the upgrade succeeds");
    let hello = client.wait_for("hello", |_| true);
    client.send("heads", json!({"conversations": {}, "pageLimit": 10}));
    let heads = client.wait_for("heads", |_| true);
    let page = client.wait_for("sync-page", |d| d["conversationId"] == conversation);
    client.send("sync", json!({"conversationId": conversation, "afterSeq": 0}));
    let asked = client.wait_for("sync-page", |d| d["conversationId"] == conversation);
    [hello, heads, page, asked].iter().map(|data: &Value| data["epoch"].as_u64()).collect()
}

/// Every frame carries one and the same epoch, and none from after the restore is from before.
fn is_raised(before: &[Option<u64>], after: &[Option<u64>]) -> Result<(), String> {
    let one = |frames: &[Option<u64>]| match frames {
        [Some(first), rest @ ..] if rest.iter().all(|epoch| epoch == &Some(*first)) => Ok(*first),
        other => Err(format!("frames that disagree: {other:?}")),
    };
    let (old, new) = (one(before)?, one(after)?);
    if new > old { Ok(()) } else { Err(format!("{new} is not above {old}")) }
}

#[test]
fn clients_learn_that_older_data_was_restored() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let conversation = single(&ann, &bob);
    let mut a = server.connect(&ann);
    a.say(&conversation, "before", "key");
    a.wait_for("message-ack", |d| d["status"] == "stored");
    let before = epochs(&server, &bob, &conversation);

    server.kill();
    server.restart();
    assert_eq!(epochs(&server, &bob, &conversation), before, "a restart alone raises nothing");

    assert!(server.terminate().success());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let raised = runtime.block_on(gochat_repo::raise_epoch(&data.path().join("gochat.db"), 0)).unwrap();
    server.restart();
    let after = epochs(&server, &bob, &conversation);
    is_raised(&before, &after).unwrap();
    assert_eq!(after[0], Some(raised));
}

#[test]
fn frames_that_disagree_are_found() {
    let all = |epoch: u64| vec![Some(epoch); 4];
    assert!(is_raised(&all(1), &all(2)).is_ok());
    assert!(is_raised(&all(1), &all(1)).is_err(), "not raised");
    assert!(is_raised(&all(2), &all(1)).is_err(), "lowered");
    assert!(is_raised(&all(1), &[Some(2), Some(2), Some(1), Some(2)]).is_err(), "a page from before");
    assert!(is_raised(&all(1), &[Some(2), None, Some(2), Some(2)]).is_err(), "a frame without one");
}
