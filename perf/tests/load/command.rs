//! Goal: the command line keeps its exit codes and its JSON keys.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

use crate::fake::{Fake, Fault};
use crate::schema;

pub(crate) fn perf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gochat-perf")).args(args).output().unwrap()
}

fn chat(fake: &Fake, json: &Path) -> Output {
    let (url, json) = (fake.url(), json.to_str().unwrap());
    let load = ["--users", "6", "--rate", "300", "--seconds", "0.5", "--json", json];
    perf(&[&["chat", "--url", &url, "--admin", &url], &load[..]].concat())
}

/// The scenario's own keys in a report, after the report was held to its schema.
fn result(json: &Path) -> Value {
    let mut report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    schema::check(&report);
    report["result"].take()
}

pub(crate) fn keys(value: &Value) -> String {
    let mut keys: Vec<String> = value.as_object().unwrap().keys().cloned().collect();
    keys.sort();
    keys.join(" ")
}

#[track_caller]
pub(crate) fn expect(output: &Output, code: i32) -> String {
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
    let report = result(&json);
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
    let report = result(&json);
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

/// Runs `hold` over ten users; the report and what was printed.
fn held(fake: &Fake, more: &[&str], code: i32) -> (Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let (users, json) = (dir.path().join("users"), dir.path().join("report.json"));
    let line = |id| {
        format!(
            "{{\"userId\":\"{id}\",\"username\":\"u\",\"deviceId\":\"d\",\"accessToken\":\"user-{id}\"}}\n"
        )
    };
    std::fs::write(&users, (1..=10).map(line).collect::<String>()).unwrap();
    let (url, file) = (fake.url(), json.to_str().unwrap());
    let hold =
        ["hold", "--url", &url, "--admin", &url, "--users-file", users.to_str().unwrap(), "--json", file];
    let text = expect(&perf(&[&hold[..], &["--settle-seconds", "0"], more].concat()), code);
    // What could not be run leaves no report.
    (if json.exists() { result(&json) } else { Value::Null }, text)
}

#[test]
fn sessions_are_held_and_measured() {
    let fake = Fake::start(Fault::None);
    let (report, _) = held(&fake, &["--seconds", "0.2"], 0);
    assert_eq!((&report["sessions"], &report["disconnects"]), (&10.into(), &0.into()));
    assert_eq!(report["chat"], Value::Null);
    assert_eq!(
        keys(&report),
        "chat cpu_s_per_s disconnects kernel_bytes_per_connection rss_bytes_after rss_bytes_all rss_bytes_before rss_bytes_half \
         rss_bytes_per_session seconds sessions"
    );
    held(&fake, &["--users", "11"], 3);
}

#[test]
fn a_slope_over_too_few_sessions_is_not_told() {
    let fake = Fake::start(Fault::None);
    let (report, text) = held(&fake, &["--seconds", "0"], 0);
    assert!(text.contains("too few for the memory of one"), "{text}");
    assert_eq!(report["rss_bytes_per_session"], Value::Null);
}

#[test]
fn a_chat_among_held_sessions_is_checked() {
    let fake = Fake::start(Fault::None);
    let (report, _) = held(&fake, &["--seconds", "0.5", "--rate", "200"], 0);
    assert_eq!((&report["chat"]["sent"], &report["chat"]["lost"]), (&100.into(), &0.into()));
    assert_eq!(report["chat"]["delivered"], report["chat"]["sent"]);
    assert!(report["rss_bytes_after"].as_u64().unwrap() > 0);
    let fake = Fake::start(Fault::ForgetStored);
    let (report, _) = held(&fake, &["--seconds", "0.5", "--rate", "200"], 1);
    assert!(report["chat"]["lost"].as_u64().unwrap() > 0, "{report}");
}

fn storm(fake: &Fake, code: i32) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let (url, file) = (fake.url(), json.to_str().unwrap());
    let load = ["--users", "8", "--rate", "200", "--seconds", "0.5", "--backoff-min-ms", "20"];
    let args = [&["storm", "--url", &url, "--admin", &url, "--json", file], &load[..]].concat();
    let text = expect(&perf(&args), code);
    let report = result(&json);
    assert!(text.contains("cut 8 of 8 sessions"), "{text}");
    report
}

#[test]
fn all_come_back_from_a_storm_and_these_are_its_keys() {
    let fake = Fake::start(Fault::None);
    let report = storm(&fake, 0);
    assert_eq!(
        keys(&report),
        "back_s back_us chat cut disconnects handshake_errors refused_with_retry_after \
         refused_without_retry_after sessions synced_s synced_us"
    );
    assert_eq!((&report["cut"], &report["refused_with_retry_after"]), (&8.into(), &0.into()));
    assert!(report["synced_s"].as_f64() >= report["back_s"].as_f64(), "{report}");
    assert!(report["back_us"]["p50"].as_u64() >= Some(10_000), "the back-off counts: {report}");
    assert_eq!((&report["chat"]["lost"], &report["chat"]["doubled"]), (&0.into(), &0.into()));
}

#[test]
fn a_refusal_with_a_time_is_allowed_and_one_without_is_not() {
    let report = storm(&Fake::start(Fault::Busy), 0);
    assert!(report["refused_with_retry_after"].as_u64() > Some(0), "{report}");
    assert!(report["back_us"]["max"].as_u64() >= Some(1_000_000), "Retry-After is kept: {report}");
    let report = storm(&Fake::start(Fault::BusyWithoutTime), 1);
    assert!(report["refused_without_retry_after"].as_u64() > Some(0), "{report}");
}

#[test]
fn what_a_storm_destroys_is_found() {
    let report = storm(&Fake::start(Fault::ForgetAccepted), 1);
    assert!(report["chat"]["lost"].as_u64() > Some(0), "{report}");
}

/// Runs a scenario with users that it registers; what its report has under `result` and `figures`.
fn played(fake: &Fake, words: &[&str], code: i32) -> (Value, Value) {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let url = fake.url();
    let args = [words, &["--url", &url, "--json", json.to_str().unwrap()]].concat();
    expect(&perf(&args), code);
    let report: Value = serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap();
    schema::check(&report);
    (report["result"].clone(), report["figures"].clone())
}

#[test]
fn each_message_of_a_room_reaches_everybody() {
    let rooms: [(&[&str], &[u64]); 2] = [
        (
            &["group", "--members", "4", "--rate", "100", "--seconds", "0.5", "--warm-seconds", "0"],
            &[1, 2, 3, 4],
        ),
        (
            &[
                "fan-out",
                "--receivers",
                "3",
                "--rate",
                "100",
                "--seconds",
                "0.5",
                "--in-flight",
                "2",
                "--warm-seconds",
                "0",
            ],
            &[1],
        ),
    ];
    for (words, writers) in rooms {
        let fake = Fake::start(Fault::None);
        let (result, figures) = played(&fake, words, 0);
        assert_eq!(keys(&result), "chat deliveries_per_s last_us members server_cpu_us_per_delivery");
        assert_eq!((&result["chat"]["sent"], &result["members"]), (&50.into(), &4.into()));
        assert_eq!(result["chat"]["delivered"], 150, "each reaches three others");
        assert!(figures["deliveries_rate"]["value"].as_f64() > Some(0.0), "{figures}");
        let us = |figure: &str| figures[figure]["value"].as_f64().unwrap();
        assert!(us("last.p50") >= us("deliver.p50") && us("last.max") <= us("deliver.max"), "{figures}");
        let world = fake.world.lock().unwrap();
        assert_eq!(world.writers("group_1_2_3_4").into_iter().collect::<Vec<_>>(), writers, "{words:?}");
    }
    let (result, _) = played(&Fake::start(Fault::ForgetStored), rooms[0].0, 1);
    assert!(result["chat"]["lost"].as_u64() > Some(0), "{result}");
}

#[test]
fn a_soak_tells_how_memory_and_latency_go() {
    let (result, _) =
        played(&Fake::start(Fault::None), &["soak", "--users", "4", "--rate", "100", "--seconds", "3.5"], 0);
    assert_eq!(keys(&result), "chat p99_drift rss_bytes_per_message rss_bytes_per_s");
    assert!(result["rss_bytes_per_s"].is_number() && result["p99_drift"].is_number(), "{result}");
}

fn hostile(fake: &Fake, code: i32) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let (url, file) = (fake.url(), json.to_str().unwrap());
    let load = ["--users", "4", "--bad-clients", "16", "--rounds", "1", "--rate", "200", "--seconds", "0.5"];
    let args = [&["hostile", "--url", &url, "--json", file, "--crowd-rate", "50"], &load[..]].concat();
    expect(&perf(&args), code);
    result(&json)
}

#[test]
fn a_chat_is_measured_with_and_without_bad_clients_and_these_are_its_keys() {
    let report = hostile(&Fake::start(Fault::None), 0);
    assert_eq!(keys(&report), "bad_clients crowd_messages kinds rounds users with without");
    for side in ["with", "without"] {
        let side = &report[side];
        assert_eq!(
            keys(side),
            "ack_us deliver_us delivered disconnects doubled lost out_of_order retries stored"
        );
        assert_eq!((&side["stored"], &side["lost"]), (&100.into(), &0.into()));
    }
    let kinds = report["kinds"].as_array().unwrap();
    assert_eq!(kinds.len(), 8);
    for kind in kinds {
        assert_eq!(keys(kind), "ended_by_server failed kind misbehaved refused");
        assert!(kind["misbehaved"].as_u64() >= Some(2), "two of each kind: {kind}");
    }
    assert!(report["crowd_messages"].as_u64() > Some(10), "{report}");
    let report = hostile(&Fake::start(Fault::ForgetStored), 1);
    assert!(report["with"]["lost"].as_u64() > Some(0), "{report}");
}
