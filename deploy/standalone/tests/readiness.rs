//! Promise: /readyz fails, with a reason that an operator understands, while the server can't do its work, and is well again by itself
//! when it can, also if nobody sends meanwhile.
mod harness;

use std::net::TcpStream;
use std::process::Command;

use harness::disk::{FileLimit, SmallDisk};
use harness::{Client, Server, until};
use serde_json::Value;

/// Few zeros ahead of the log, so that it notices a full disk at once; and a quick look.
const QUICK: &[(&str, &str)] = &[
    ("GOCHAT__QUEUE__PREFILL_BYTES", "65536"),
    ("GOCHAT__QUEUE__REFUSED_RETRY_MS", "100"),
    ("GOCHAT__HEALTH_INTERVAL_MS", "100"),
];

/// The status and the report; none while nobody answers.
fn readyz(server: &Server) -> Option<(u16, Value)> {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let mut answer = agent.get(format!("http://{}/readyz", server.admin)).call().ok()?;
    let report = serde_json::from_str(&answer.body_mut().read_to_string().ok()?).ok()?;
    Some((answer.status().as_u16(), report))
}

/// Waits until /readyz fails at a condition for a reason with these words.
fn fails_at(server: &Server, condition: &str, words: &[&str]) {
    let mut last = None;
    until(condition, || {
        last = readyz(server);
        let Some((503, report)) = &last else { return false };
        let reason = report["conditions"][condition]["reason"].as_str().unwrap_or_default();
        words.iter().all(|word| reason.contains(word))
    });
}

fn is_ready_again(server: &Server) {
    until("it is ready", || readyz(server).is_some_and(|(status, _)| status == 200));
}

/// Sends until the queue has refused one.
fn a_send_is_refused(client: &mut Client) {
    let mut number = 0;
    until("a send is refused", || {
        number += 1;
        client.say("world", &"x".repeat(4_000), &format!("full-{number}"));
        let id = format!("full-{number}");
        let ack =
            client.wait_for("message-ack", |d| d["tempMessageId"] == id.as_str() && d["status"] != "stored");
        ack["status"] == "retry"
    });
}

#[test]
fn a_server_that_is_well_lists_what_was_looked_at() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_as(data.path(), &[], QUICK);
    let names = ["gateway", "gateway-parts", "logic-pipeline", "queue", "repo", "start", "task"];
    until("all is looked at", || {
        let (status, report) = readyz(&server).expect("an answer");
        let conditions = report["conditions"].as_object().expect("conditions");
        status == 200 && conditions.keys().eq(names)
    });
}

#[test]
fn a_full_disk_is_told_until_there_is_space() {
    let Some(disk) = SmallDisk::mount(64) else { return };
    let server = Server::start_as(&disk.path().join("data"), &[], QUICK);
    let ann = server.user("ann");
    let mut client = server.connect(&ann);
    is_ready_again(&server);
    let ballast = disk.fill();
    a_send_is_refused(&mut client);
    fails_at(&server, "queue", &["can't be written", "No space left"]);
    drop(ballast);
    is_ready_again(&server);
}

#[test]
fn writes_that_fail_are_told_until_they_succeed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_as(data.path(), &[], QUICK);
    let ann = server.user("ann");
    let mut client = server.connect(&ann);
    is_ready_again(&server);
    let limit = FileLimit::set(server.pid(), 1 << 10);
    a_send_is_refused(&mut client);
    fails_at(&server, "queue", &["can't be written", "File too large"]);
    drop(limit);
    is_ready_again(&server);
}

/// The store's file of changes grows faster than the queue's: a limit between the two stops the store alone.
#[test]
fn a_store_that_saves_nothing_is_told_until_it_does() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_as(data.path(), &[], QUICK);
    let ann = server.user("ann");
    let mut client = server.connect(&ann);
    is_ready_again(&server);
    let limit = FileLimit::set(server.pid(), 1 << 20);
    let mut number = 0;
    until("the pipeline gives up for now", || {
        number += 1;
        client.say("world", "hi", &format!("m-{number}"));
        let id = format!("m-{number}");
        client.wait_for("message-ack", |d| d["tempMessageId"] == id.as_str());
        let (_, report) = readyz(&server).expect("an answer");
        report["conditions"]["logic-pipeline"]["ready"] == false
    });
    fails_at(&server, "logic-pipeline", &["messages wait"]);
    drop(limit);
    is_ready_again(&server);
}

#[test]
fn a_stop_is_told_before_clients_are_closed() {
    let data = tempfile::tempdir().unwrap();
    let server = Server::start_as(data.path(), &[], &[("GOCHAT__GATEWAY__EDGE__DRAIN_GRACE_MS", "9000")]);
    is_ready_again(&server);
    let killed = Command::new("kill").arg(server.pid().to_string()).status().expect("kill runs");
    assert!(killed.success());
    fails_at(&server, "gateway", &["draining"]);
}

#[test]
fn clients_leave_descriptors_for_all_else() {
    let data = tempfile::tempdir().unwrap();
    let env = &[("DESCRIPTORS", "300"), ("GOCHAT__GATEWAY__SHARDS", "1")];
    let server = Server::start_as(data.path(), &[], env);
    let ann = server.user("ann");
    let mut client = server.connect(&ann);
    let others: Vec<_> = (0..400).map(|_| TcpStream::connect(server.http).expect("a connection")).collect();
    // Half of the descriptors are for connections.
    until("all have been looked at", || {
        server.metric("gateway_edge_refusals_total{reason=\"cap\"}") >= 250.0
    });
    is_ready_again(&server);
    client.say("world", "hi", "among-many");
    client.wait_for("message-ack", |d| d["status"] == "stored");
    drop(others);
}
