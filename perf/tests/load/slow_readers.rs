//! Goal: readers who do not keep up get everything in the end, and what they cost the others is told.

use std::process::Command;

use serde_json::Value;

use crate::fake::{Fake, Fault};
use crate::schema;

/// One round of two turns; `more` replaces what is in it.
fn slow_reader(fake: &Fake, more: &[(&str, &str)], code: i32) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let url = fake.url();
    let turn = [
        ("--url", url.as_str()),
        ("--json", json.to_str().unwrap()),
        ("--users", "3"),
        ("--slow-users", "2"),
        ("--rate", "100"),
        ("--seconds", "0.6"),
        ("--slow-seconds", "0.4"),
        ("--rounds", "1"),
        ("--warm-seconds", "0"),
    ];
    let kept = turn.iter().filter(|(word, _)| more.iter().all(|(other, _)| other != word));
    let words = kept.chain(more).map(|(word, value)| format!("{word}={value}"));
    let output =
        Command::new(env!("CARGO_BIN_EXE_gochat-perf")).arg("slow-reader").args(words).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{more:?} {text}");
    let report = std::fs::read(&json).map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap());
    if !report.is_null() {
        schema::check(&report);
    }
    report
}

#[test]
fn who_stops_reading_gets_everything_in_the_end() {
    let report = slow_reader(&Fake::start(Fault::None), &[], 0);
    let result = &report["result"];
    let mut keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys.join(" "),
        "ended ended_with_1013 gaps left_out rounds slow_us slow_users users with without"
    );
    for side in ["without", "with"] {
        assert_eq!((&result[side]["stored"], &result[side]["lost"]), (&60.into(), &0.into()));
        assert_eq!(result[side]["delivered"], 240, "each reaches four others, slow ones too: {result}");
    }
    // What was due first was read when 0.4 s were over; the others' latencies leave the slow ones out.
    assert!(result["slow_us"]["max"].as_u64() >= Some(390_000), "{result}");
    assert_eq!(
        (&report["latencies"]["slow"]["count"], &report["latencies"]["deliver_with"]["count"]),
        (&120.into(), &120.into())
    );
    assert_eq!((&result["ended"], &result["gaps"]), (&0.into(), &0.into()));
}

#[test]
fn who_reads_a_few_bytes_a_second_gets_everything_too() {
    let report = slow_reader(&Fake::start(Fault::None), &[("--slow-bytes-per-s", "2000")], 0);
    assert_eq!(report["result"]["with"]["delivered"], 240);
    assert!(report["result"]["slow_us"]["max"].as_u64() > Some(100_000), "{report}");
}

#[test]
fn what_is_left_out_or_closed_on_the_slow_is_counted_and_fetched() {
    let report = slow_reader(&Fake::start(Fault::Gap), &[], 0);
    let result = &report["result"];
    assert!(result["gaps"].as_u64() > Some(0) && result["left_out"] == result["gaps"], "{result}");
    assert_eq!((&result["with"]["lost"], &result["with"]["delivered"]), (&0.into(), &240.into()));
    let report = slow_reader(&Fake::start(Fault::TooSlow), &[], 0);
    let result = &report["result"];
    assert!(result["ended_with_1013"].as_u64() > Some(0), "{result}");
    assert!(result["ended"].as_u64() >= result["ended_with_1013"].as_u64(), "{result}");
    assert_eq!((&result["with"]["lost"], &result["with"]["delivered"]), (&0.into(), &240.into()));
}

#[test]
fn what_slow_readers_lose_is_found() {
    let report = slow_reader(&Fake::start(Fault::ForgetStored), &[], 1);
    assert!(report["result"]["with"]["lost"].as_u64() > Some(0), "{report}");
}

#[test]
fn readers_that_cannot_be_are_2() {
    let fake = Fake::start(Fault::None);
    for wrong in [
        ("--users", "1"),
        ("--slow-users", "0"),
        ("--rounds", "0"),
        ("--rate", "0"),
        ("--slow-seconds", "0.7"),
        ("--settle-seconds", "1e9"),
    ] {
        slow_reader(&fake, &[wrong], 2);
    }
}
