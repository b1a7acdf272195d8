//! Goal: the command line keeps its exit codes and its JSON keys.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::fake::{Fake, Fault};

fn perf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gochat-perf")).args(args).output().unwrap()
}

fn chat(fake: &Fake, json: &Path) -> Output {
    let (url, json) = (fake.url(), json.to_str().unwrap());
    let load = ["--users", "6", "--rate", "300", "--seconds", "0.5", "--json", json];
    perf(&[&["chat", "--url", &url, "--admin", &url], &load[..]].concat())
}

#[track_caller]
fn expect(output: &Output, code: i32) -> String {
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    text
}

#[test]
fn a_good_run_is_0_and_writes_exactly_these_keys() {
    let fake = Fake::start(Fault::None);
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let text = expect(&chat(&fake, &json), 0);
    assert!(text.contains("p99.9") && text.contains("lost 0"), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    let keys = |value: &Value| {
        let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
        keys.sort();
        keys.join(" ")
    };
    assert_eq!(
        keys(&report),
        "ack_us deliver_us delivered doubled gaps lost out_of_order rate rejected sent \
         server_cpu_us_per_message server_rss_bytes stored"
    );
    for latency in ["ack_us", "deliver_us"] {
        assert_eq!(keys(&report[latency]), "max p50 p90 p99 p999");
        assert!(report[latency]["max"].as_u64() >= report[latency]["p50"].as_u64());
    }
    assert_eq!(report["sent"], 150);
    assert_eq!((&report["stored"], &report["delivered"]), (&report["sent"], &report["sent"]));
    assert_eq!(
        (&report["lost"], &report["doubled"], &report["out_of_order"]),
        (&0.into(), &0.into(), &0.into())
    );
    assert!(report["server_rss_bytes"].as_u64().unwrap() > 0);
}

#[test]
fn a_broken_promise_is_1() {
    let fake = Fake::start(Fault::StoreTwice);
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let text = expect(&chat(&fake, &json), 1);
    assert!(text.contains("Doubled in single_"), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert!(report["doubled"].as_u64().unwrap() > 0);
}

#[test]
fn a_wrong_command_line_is_2() {
    expect(&perf(&["chat", "--users", "3"]), 2);
    expect(&perf(&["chat", "--url", "https://127.0.0.1:1"]), 2);
    expect(&perf(&["chat", "--nonsense"]), 2);
    expect(&perf(&["hold"]), 2);
}

#[test]
fn no_server_and_no_users_are_3() {
    let mut fake = Fake::start(Fault::None);
    let url = fake.url();
    fake.kill();
    expect(&perf(&["chat", "--url", &url, "--users", "2"]), 3);
    expect(&perf(&["chat", "--url", &url, "--users-file", "/nonexistent"]), 3);
}

#[test]
fn sessions_are_held_and_measured() {
    let fake = Fake::start(Fault::None);
    let dir = tempfile::tempdir().unwrap();
    let (users, json) = (dir.path().join("users"), dir.path().join("report.json"));
    let line = |id| {
        format!(
            "{{\"userId\":\"{id}\",\"username\":\"u\",\"deviceId\":\"d\",\"accessToken\":\"user-{id}\"}}\n"
        )
    };
    std::fs::write(&users, (1..=10).map(line).collect::<String>()).unwrap();
    let url = fake.url();
    let (users, file) = (users.to_str().unwrap(), json.to_str().unwrap());
    let hold = ["hold", "--url", &url, "--admin", &url, "--users-file", users, "--json", file];
    expect(&perf(&[&hold[..], &["--seconds", "0.2", "--settle-seconds", "0"]].concat()), 0);
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    assert_eq!((&report["sessions"], &report["disconnects"]), (&10.into(), &0.into()));
    expect(&perf(&[&hold[..], &["--users", "11"]].concat()), 3);
}
