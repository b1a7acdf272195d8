//! Goal: `capacity` finds the highest rate at which a goal holds, and ends where a promise is broken.
//! Method: the fake server rejects each fifth message, so that the number of rejections tells the rate, on a slow machine too.

use std::process::Command;

use serde_json::Value;

use crate::fake::{Fake, Fault};
use crate::schema;

const SEARCH: [&str; 12] = [
    "--goal",
    "lost=0,rejected<30",
    "--from",
    "100",
    "--factor",
    "2",
    "--pause-seconds",
    "0",
    "--repeats",
    "1",
    "--done-share-min",
    "0",
];
const CHAT: [&str; 6] = ["--", "chat", "--users", "2", "--seconds", "0.5"];

fn capacity(fake: &Fake, words: &[&str], code: i32) -> (Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
        .args(["capacity", "--url", &fake.url(), "--json"])
        .arg(&json)
        .arg("--reports")
        .arg(dir.path().join("runs"))
        .args(words)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{text}");
    let report = std::fs::read(&json).map_or(Value::Null, |json| serde_json::from_slice(&json).unwrap());
    if !report.is_null() {
        schema::check(&report);
    }
    (report, text)
}

#[test]
fn the_highest_rate_that_holds_is_found_and_repeated() {
    let (report, text) = capacity(&Fake::start(Fault::Reject), &[&SEARCH[..], &CHAT].concat(), 0);
    let result = &report["result"];
    let offered: Vec<(f64, bool, &str)> = result["steps"]
        .as_array()
        .unwrap()
        .iter()
        .map(|step| {
            (
                step["offered"].as_f64().unwrap(),
                step["held"].as_bool().unwrap(),
                step["why"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        offered,
        [
            (100.0, true, "search"),
            (200.0, true, "search"),
            (400.0, false, "search"),
            (300.0, false, "search"),
            (250.0, true, "search"),
            (250.0, true, "repeat")
        ]
    );
    assert_eq!((&result["rate"], &result["broke"]), (&250.0.into(), &300.0.into()));
    assert_eq!(report["figures"]["rate"]["value"], 250.0);
    assert!(report["figures"]["at_rate.p99"]["value"].as_f64() > Some(0.0), "{}", report["figures"]);
    let missed = result["steps"][2]["missed"][0].as_str().unwrap();
    assert!(missed.starts_with("rejected<30: 40"), "{missed}");
    assert!(text.contains("lost=0,rejected<30 holds: up to 250/s"), "{text}");
}

#[test]
fn a_goal_that_never_holds_is_4_and_has_no_rate() {
    let goal = [
        "--goal",
        "rejected<1",
        "--from",
        "100",
        "--rate-min",
        "50",
        "--factor",
        "2",
        "--pause-seconds",
        "0",
    ];
    let (report, _) = capacity(&Fake::start(Fault::Reject), &[&goal[..], &CHAT].concat(), 4);
    assert_eq!((&report["result"]["rate"], &report["result"]["broke"]), (&Value::Null, &50.0.into()));
    assert_eq!(report["figures"]["rate"], Value::Null);
    let more = ["--assert", "rate>=1000", "--rate-max", "200", "--repeats", "0"];
    let (report, _) =
        capacity(&Fake::start(Fault::Reject), &[&SEARCH[..8], &SEARCH[10..], &more, &CHAT].concat(), 4);
    assert_eq!((&report["result"]["rate"], &report["result"]["broke"]), (&200.0.into(), &Value::Null));
}

#[test]
fn a_broken_promise_ends_it_with_1() {
    let (report, text) = capacity(&Fake::start(Fault::StoreTwice), &[&SEARCH[..], &CHAT].concat(), 1);
    assert_eq!(report["result"]["steps"].as_array().unwrap().len(), 1, "the first run is the last");
    assert!(text.contains("BROKEN: at 100/s: Doubled in single_"), "{text}");
    assert_eq!(report["figures"]["rate"], Value::Null);
}

#[test]
fn what_cannot_be_is_2_and_no_server_is_3() {
    let mut fake = Fake::start(Fault::None);
    for words in [
        &["--factor", "0.5"][..],
        &["--factor", "1"],
        &["--add", "-1"],
        &["--rate-min", "0"],
        &["--from", "5"],
        &["--rate-max", "50"],
        &["--done-share-min", "2"],
        &["--goal", "p99"],
    ] {
        capacity(&fake, &[words, &CHAT].concat(), 2);
    }
    capacity(&fake, &[], 2);
    // The run's own refusal is handed on.
    let (_, text) = capacity(&fake, &["--", "chat", "--users", "3"], 2);
    assert!(text.contains("--users must be even"), "{text}");
    capacity(&fake, &["--", "doctor"], 2);
    fake.kill();
    capacity(&fake, &CHAT, 3);
}
