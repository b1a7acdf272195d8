//! Promise: a backup of a running server holds all that was stored before it began, and becomes a data folder again,
//! with a raised epoch; what is no whole backup is refused.
//! Method: pairs chat while `gochat backup` runs; the server is killed, the backup restored elsewhere and served.
mod harness;

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::{Command, Output};

use harness::disk::{SlowFile, SmallDisk};
use harness::{Client, Server, User, single};
use serde_json::{Value, json};

fn gochat(args: &[&str], dir: &Path, data: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gochat"));
    command.args(args).arg(dir).arg("--data").arg(data).output().expect("gochat runs")
}

fn done(args: &[&str], dir: &Path, data: &Path) {
    let output = gochat(args, dir, data);
    assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
}

fn refused(args: &[&str], dir: &Path, data: &Path, words: &[&str]) {
    let output = gochat(args, dir, data);
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(words.iter().all(|word| said.contains(word)), "{words:?}: {said}");
}

/// A conversation's contents by number, once it has this many.
fn history(client: &mut Client, conversation: &str, at_least: usize) -> BTreeMap<u64, String> {
    let mut seen = BTreeMap::new();
    while seen.len() < at_least {
        let after = seen.keys().next_back().copied().unwrap_or(0);
        client.send("sync", json!({"conversationId": conversation, "afterSeq": after, "limit": 100}));
        let page = client.wait_for("sync-page", |d| d["conversationId"] == conversation);
        for message in page["messages"].as_array().unwrap() {
            seen.insert(message["seqId"].as_u64().unwrap(), message["content"].as_str().unwrap().to_owned());
        }
    }
    seen
}

fn epoch(client: &mut Client) -> u64 {
    client.send("heads", json!({"conversations": {}}));
    client.wait_for("heads", |_| true)["epoch"].as_u64().unwrap()
}

/// Says `count` more in a conversation and waits until all is stored.
fn say_stored(client: &mut Client, conversation: &str, from: usize, count: usize) {
    for n in from..from + count {
        client.say(conversation, &format!("number {n}"), &format!("b-{n}"));
    }
    let mut open = count;
    while open > 0 {
        client.wait_for("message-ack", |d: &Value| d["status"] == "stored");
        open -= 1;
    }
}

#[test]
fn a_backup_under_load_holds_what_was_stored_before_it() {
    let temp = tempfile::tempdir().unwrap();
    let (data, dir, other) =
        (temp.path().join("data"), temp.path().join("backup"), temp.path().join("other"));
    let mut server = Server::start(&data);
    let (ann, bob, cid) = (server.user("ann"), server.user("bob"), server.user("cid"));
    let (quiet, busy) = (single(&ann, &bob), single(&ann, &cid));
    let (mut a, mut c) = (server.connect(&ann), server.connect(&cid));
    let old_epoch = epoch(&mut a);
    say_stored(&mut a, &quiet, 1, 60);

    // Load goes on until the backup is there. However late its thread begins, some was said before.
    say_stored(&mut c, &busy, 1, 20);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let load = std::thread::spawn({
        let busy = busy.clone();
        move || {
            let mut n = 20;
            while matches!(stopped.try_recv(), Err(std::sync::mpsc::TryRecvError::Empty)) {
                say_stored(&mut c, &busy, n + 1, 20);
                n += 20;
            }
        }
    });
    done(&["backup"], &dir, &data);
    stop.send(()).unwrap();
    load.join().unwrap();
    server.kill();

    refused(&["restore"], &dir, &data, &["is not empty"]);
    done(&["restore"], &dir, &other);
    let server = Server::start(&other);
    // The same accounts, and the tokens signed before.
    let ann = User { token: ann.token.clone(), ..server.login("ann") };
    let mut a = server.connect(&ann);
    assert!(epoch(&mut a) > old_epoch);
    let kept = history(&mut a, &quiet, 60);
    let expected: BTreeMap<u64, String> = (1..=60).map(|n| (n, format!("number {n}"))).collect();
    assert_eq!(kept, expected);
    // What came while it was made: a dense beginning, in order.
    a.say(&busy, "after", "after-1");
    let next = a.wait_for("message-ack", |d| d["status"] == "stored")["seqId"].as_u64().unwrap();
    assert!(next > 20, "what was stored before is there");
    let busy_kept = history(&mut a, &busy, next as usize);
    assert_eq!(busy_kept.keys().copied().collect::<Vec<_>>(), (1..=next).collect::<Vec<_>>());
    for (seq, content) in busy_kept.iter().take(next as usize - 1) {
        assert_eq!(*content, format!("number {seq}"));
    }
}

#[test]
fn what_is_no_whole_backup_or_no_empty_place_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    let (data, dir, other) =
        (temp.path().join("data"), temp.path().join("backup"), temp.path().join("other"));
    let server = Server::start(&data);
    server.user("ann");
    done(&["backup"], &dir, &data);
    refused(&["backup"], &dir, &data, &["is not empty"]);
    refused(&["backup"], &data.join("inside"), &data, &["in the data folder"]);
    drop(server);

    let manifest = dir.join("manifest.json");
    let text = fs::read_to_string(&manifest).unwrap();
    // As a backup that was broken off leaves it.
    fs::remove_file(&manifest).unwrap();
    refused(&["restore"], &dir, &other, &["not a whole backup"]);
    fs::write(&manifest, text.replace("\"layout\": 1", "\"layout\": 99")).unwrap();
    refused(&["restore"], &dir, &other, &["newer gochat", "layout 99"]);
    fs::write(&manifest, text.replace("\"keys.json\"", "\"../keys.json\"")).unwrap();
    refused(&["restore"], &dir, &other, &["damaged"]);
    assert!(!other.exists(), "nothing was made of what is refused");

    fs::write(&manifest, &text).unwrap();
    let store = fs::read(dir.join("gochat.db")).unwrap();
    let mut changed = store.clone();
    *changed.last_mut().unwrap() ^= 1;
    fs::write(dir.join("gochat.db"), changed).unwrap();
    refused(&["restore"], &dir, &other, &["gochat.db", "damaged"]);
    // What a broken restore left behind is neither started nor filled up.
    let start = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data"];
    let started = Command::new(env!("CARGO_BIN_EXE_gochat")).args(start).arg(&other).output().unwrap();
    let said = String::from_utf8(started.stderr).unwrap();
    assert!(started.status.code() == Some(1) && said.contains("was not finished"), "{said}");
    fs::write(dir.join("gochat.db"), store).unwrap();
    refused(&["restore"], &dir, &other, &["is not empty"]);
    fs::remove_dir_all(&other).unwrap();
    done(&["restore"], &dir, &other);
    Server::start(&other).login("ann");
}

#[test]
fn a_server_that_nobody_has_used_is_backed_up() {
    let temp = tempfile::tempdir().unwrap();
    let (data, dir, other) =
        (temp.path().join("data"), temp.path().join("backup"), temp.path().join("other"));
    let server = Server::start(&data);
    done(&["backup"], &dir, &data);
    drop(server);
    done(&["restore"], &dir, &other);
    Server::start(&other).user("ann");
}

#[test]
fn no_way_round_leads_into_the_data_folder() {
    let temp = tempfile::tempdir().unwrap();
    let (data, link) = (temp.path().join("data"), temp.path().join("link"));
    let _server = Server::start(&data);
    std::os::unix::fs::symlink(&data, &link).unwrap();
    refused(&["backup"], &link.join("new/copy"), &data, &["in the data folder"]);
    refused(&["backup"], &temp.path().join("new/../data/copy"), &data, &["without .."]);
    refused(&["backup"], &data.join("../data/copy"), &data, &["in the data folder"]);
    assert!(!data.join("new").exists() && !data.join("copy").exists());
    // One that stays outside is taken.
    done(&["backup"], &data.join("../copy"), &data);
    assert!(temp.path().join("copy/manifest.json").exists());
}

#[test]
fn a_backup_whose_client_has_gone_is_made_whole() {
    let temp = tempfile::tempdir().unwrap();
    let (data, dir, other) =
        (temp.path().join("data"), temp.path().join("backup"), temp.path().join("other"));
    let server = Server::start(&data);
    server.user("ann");
    let mut keys = SlowFile::hold(&data.join("keys.json"));
    let mut command = Command::new(env!("CARGO_BIN_EXE_gochat"));
    let mut client = command.arg("backup").arg(&dir).arg("--data").arg(&data).spawn().unwrap();
    keys.wait_for_reader();
    client.kill().unwrap();
    client.wait().unwrap();
    refused(&["backup"], &temp.path().join("second"), &data, &["a backup is being made already"]);
    keys.release();
    harness::until("the backup is whole", || dir.join("manifest.json").exists());
    drop(server);
    done(&["restore"], &dir, &other);
    Server::start(&other).login("ann");
}

#[test]
fn a_full_disk_takes_no_backup_and_keeps_no_part_of_one() {
    let Some(disk) = SmallDisk::mount(4) else { return };
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let server = Server::start(&data);
    let dir = disk.path().join("backup");
    let ballast = disk.fill();
    refused(&["backup"], &dir, &data, &["no backup was made", "No space left"]);
    assert!(!dir.exists());
    // Enough for the keys and the queue.
    ballast.make_room(64 << 10);
    refused(&["backup"], &dir, &data, &["no backup was made", "full"]);
    assert!(!dir.exists());
    drop(ballast);
    // A folder that can't be removed with what is in it.
    done(&["backup"], disk.path(), &data);
    server.user("ann");
}
