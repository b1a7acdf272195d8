//! Goal: `connect` measures how people come, and tells refusals that are allowed from those that are not.

use std::process::Command;

use serde_json::Value;

use crate::fake::{Fake, Fault};
use crate::schema;

fn connect(fake: &Fake, more: &[&str], code: i32) -> (Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
        .args(["connect", "--url", &fake.url(), "--users", "5", "--seconds", "0.5", "--json"])
        .arg(&json)
        .args(more)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{more:?} {text}");
    let report = std::fs::read(&json).map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap());
    if !report.is_null() {
        schema::check(&report);
    }
    (report, text)
}

#[test]
fn people_come_at_a_rate() {
    let (report, _) = connect(&Fake::start(Fault::None), &["--rate", "100", "--in-flight", "8"], 0);
    let result = &report["result"];
    let mut keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys.join(" "),
        "failed login_us rate ready ready_us refused_with_time refused_without_retry_after server_cpu_us_per_connect \
         trouble upgraded_us"
    );
    assert_eq!(
        (&result["ready"], &result["failed"], &result["login_us"]),
        (&50.into(), &0.into(), &Value::Null)
    );
    assert_eq!(report["latencies"]["ready"]["count"], 50);
    assert_eq!(report["figures"]["p99"], report["figures"]["ready.p99"]);
    assert!(result["ready_us"]["p50"].as_u64() >= result["upgraded_us"]["p50"].as_u64(), "{result}");
}

#[test]
fn some_come_again_and_again_and_log_in_before() {
    let (report, _) = connect(&Fake::start(Fault::None), &["--rate", "0", "--in-flight", "3", "--login"], 0);
    let result = &report["result"];
    assert!(result["ready"].as_u64() >= Some(3), "{result}");
    assert_eq!(report["latencies"]["login"]["count"], result["ready"]);
    assert!(result["login_us"]["p50"].as_u64() <= result["ready_us"]["p50"].as_u64(), "{result}");
}

#[test]
fn a_refusal_with_a_time_is_an_answer_and_one_without_is_a_broken_promise() {
    let (report, _) = connect(&Fake::start(Fault::Busy), &["--rate", "100"], 0);
    let result = &report["result"];
    let (ready, refused) = (result["ready"].as_u64().unwrap(), result["refused_with_time"].as_u64().unwrap());
    assert!(ready > 0 && refused > 0 && ready + refused == 50, "{result}");
    let (report, text) = connect(&Fake::start(Fault::BusyWithoutTime), &["--rate", "100"], 1);
    assert!(report["result"]["refused_without_retry_after"].as_u64() > Some(0), "{report}");
    assert!(text.contains("were refused without a Retry-After"), "{text}");
}

#[test]
fn connects_that_cannot_be_are_2_and_no_server_is_3() {
    let mut fake = Fake::start(Fault::None);
    for words in [
        &["--users=0"][..],
        &["--in-flight", "0"],
        &["--in-flight", "5000"],
        &["--rate", "-1"],
        &["--deadline-seconds", "0"],
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
            .args(["connect", "--url", &fake.url()])
            .args(words)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2), "{words:?}");
    }
    fake.kill();
    connect(&fake, &[], 3);
}
