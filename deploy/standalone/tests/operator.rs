//! Promise: an operator's commands reach the server that runs on a data folder, and say in one sentence what they did
//! or why they can't.
//! Method: the real binary as server and as command, over the control socket in the data folder.
mod harness;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output};

use harness::{Server, single};
use serde_json::{Value, json};

fn gochat(data: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gochat"))
        .args(args)
        .arg("--data")
        .arg(data)
        .output()
        .expect("gochat runs")
}

/// The one line that a command prints.
fn done(data: &Path, args: &[&str]) -> String {
    let output = gochat(data, args);
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {stderr}");
    String::from_utf8(output.stdout).unwrap().trim_end().to_owned()
}

/// The one sentence that a command is refused with.
fn refused(data: &Path, args: &[&str]) -> String {
    let output = gochat(data, args);
    assert_eq!(output.status.code(), Some(1), "{args:?}");
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(said.lines().count(), 1, "{said}");
    assert!(!said.contains("status:") && !said.contains("Error"), "{said}");
    said
}

#[test]
fn a_ban_ends_sockets_and_logins_until_it_is_lifted() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let server = Server::start(&data);
    let ann = server.user("ann");
    let mut a = server.connect(&ann);
    assert!(done(&data, &["users", "ban", "ann"]).contains("ann is banned"));
    assert_eq!(a.wait_for("kicked", |_| true)["reason"], "banned");
    assert_eq!(a.wait_for_close(), Some(4401));
    let login = || {
        let body = json!({"username": "ann", "password": "correct horse"});
        server.call("POST", "/api/auth/login", None, Some(body)).0
    };
    assert_eq!(login(), 403);
    assert_eq!(server.call("GET", "/api/users/me", Some(&ann.token), None).0, 401);
    assert!(done(&data, &["users", "ban", "ann"]).contains("already"));
    assert!(done(&data, &["users", "unban", "ann"]).contains("may log in again"));
    assert_eq!(login(), 200);
    let unknown = refused(&data, &["users", "ban", "nobody"]);
    assert!(unknown.contains("user"), "{unknown}");
}

#[test]
fn dead_letters_are_listed_shown_and_replayed() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    // What the gateway lets through is too long for the pipeline: such a record can never succeed.
    let config = temp.path().join("gochat.toml");
    fs::write(&config, "[logic.limits]\ncontent_max_bytes = 8\n").unwrap();
    let server = Server::start_with(&data, &["--config", config.to_str().unwrap()]);
    assert_eq!(done(&data, &["dead-letters", "list"]), "there are no dead letters");
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let mut a = server.connect(&ann);
    a.say(&single(&ann, &bob), "let me in", "a-1");
    a.wait_for("message-ack", |d| d["status"] == "rejected");
    let listed = done(&data, &["dead-letters", "list"]);
    assert!(listed.starts_with("0  gochat.upstream"), "{listed}");
    let shown: Value = serde_json::from_str(&done(&data, &["dead-letters", "show", "0", "--json"])).unwrap();
    assert_eq!(shown["from"]["topic"], "gochat.upstream");
    assert!(!shown["valueBase64"].as_str().unwrap().is_empty());
    assert!(done(&data, &["dead-letters", "show", "0"]).contains("let me in"));
    assert!(done(&data, &["dead-letters", "replay", "0"]).contains("0 is on gochat.upstream/"));
    // It can't succeed this time either, and comes back as the next one.
    a.wait_for("message-ack", |d| d["status"] == "rejected");
    assert!(done(&data, &["dead-letters", "list", "--from", "1"]).starts_with("1  gochat.upstream"));
    let none = refused(&data, &["dead-letters", "show", "99"]);
    assert!(none.contains("99") || none.contains("no dead letter"), "{none}");
}

#[test]
fn keys_are_rotated_and_nobody_is_put_out() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    let mut server = Server::start(&data);
    let ann = server.user("ann");
    let mut socket = server.connect(&ann);
    let world = |socket: &mut harness::Client, id: &str| {
        socket.say("world", "still here", id);
        socket.wait_for("message-ack", |d| d["tempMessageId"] == id && d["status"] == "stored");
    };
    let me = |server: &Server, token: &str| server.call("GET", "/api/users/me", Some(token), None).0;
    let login = |server: &Server| {
        let body = json!({"username": "ann", "password": "correct horse"});
        let (status, answer) = server.call("POST", "/api/auth/login", None, Some(body));
        assert_eq!(status, 200);
        answer["accessToken"].as_str().unwrap().to_owned()
    };
    let header = |token: &str| token.split('.').next().unwrap().to_owned();

    assert!(done(&data, &["keys", "rotate"]).contains("signs from now on"));
    let second = login(&server);
    assert_ne!(header(&second), header(&ann.token), "another key is named in the token");
    assert_eq!([me(&server, &ann.token), me(&server, &second)], [200, 200]);
    let said = refused(&data, &["keys", "rotate"]);
    assert!(said.contains("may be good for another") && said.contains("--force"), "{said}");
    assert_eq!(me(&server, &ann.token), 200);

    assert!(done(&data, &["keys", "rotate", "--force"]).contains("is dropped"));
    world(&mut socket, "k-1");
    server.kill();
    server.restart();
    assert_eq!([me(&server, &ann.token), me(&server, &second)], [401, 200]);
    assert_eq!(me(&server, &login(&server)), 200);
    assert_eq!(fs::metadata(data.join("keys.json")).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_command_without_a_server_says_so() {
    let temp = tempfile::tempdir().unwrap();
    let data = temp.path().join("data");
    for args in [
        &["users", "ban", "ann"][..],
        &["dead-letters", "list"],
        &["keys", "rotate"],
        &["backup", "/nowhere"],
    ] {
        let said = refused(&data, args);
        assert!(said.contains("no server runs on the data folder") && said.contains("--data"), "{said}");
    }
    assert!(!data.exists());
}

#[test]
fn the_socket_of_a_killed_server_is_replaced_and_its_owner_s_alone() {
    let temp = tempfile::tempdir().unwrap();
    // Longer than a socket's path may be.
    let data = temp.path().join("long".repeat(30)).join("data");
    let mut server = Server::start(&data);
    let socket = data.join("control.sock");
    let mode = || fs::metadata(&socket).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(), 0o600);
    server.kill();
    assert!(socket.exists());
    let said = refused(&data, &["dead-letters", "list"]);
    assert!(said.contains("no server runs"), "{said}");
    server.restart();
    assert_eq!(mode(), 0o600);
    assert_eq!(done(&data, &["dead-letters", "list"]), "there are no dead letters");
    assert!(server.terminate().success());
    assert!(!socket.exists());
}

#[test]
fn what_an_operator_changes_is_in_the_log() {
    let temp = tempfile::tempdir().unwrap();
    let (data, log, config) =
        (temp.path().join("data"), temp.path().join("log"), temp.path().join("gochat.toml"));
    fs::write(&config, "[logic.limits]\ncontent_max_bytes = 8\n").unwrap();
    let file = fs::File::create(&log).unwrap();
    let server = Server::start_logging_to(&data, &["--config", config.to_str().unwrap()], file.into());
    let (ann, bob) = (server.user("ann"), server.user("bob"));
    let mut a = server.connect(&ann);
    a.say(&single(&ann, &bob), "too long for the pipeline", "a-1");
    a.wait_for("message-ack", |d| d["status"] == "rejected");
    let backup = temp.path().join("backup");
    for (args, words) in [
        (&["users", "ban", "bob"][..], &["user banned", "bob", bob.id.as_str(), "changed=true"][..]),
        (&["users", "unban", "bob"], &["user unbanned", "bob", bob.id.as_str(), "changed=true"]),
        (&["dead-letters", "replay", "0"], &["replayed a dead letter", "number=0", "gochat.upstream"]),
        (&["keys", "rotate"], &["keys rotated"]),
        (&["backup", backup.to_str().unwrap()], &["backup made", backup.to_str().unwrap()]),
    ] {
        harness::until("the command is taken", || gochat(&data, args).status.success());
        harness::until("the log has its line", || {
            let log = fs::read_to_string(&log).unwrap();
            log.lines().any(|line| line.contains("INFO") && words.iter().all(|word| line.contains(word)))
        });
    }
}
