//! Goal: every run leaves a report from which one can tell what was measured, on what, and how it went.

use std::process::Command;

use serde_json::Value;

use crate::fake::{Fake, Fault};
use crate::schema;

struct Run {
    report: Value,
    csv: String,
    hlog: String,
}

/// A short chat, with every file that it can write.
fn chat(fault: Fault, code: i32) -> Run {
    let fake = Fake::start(fault);
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str| dir.path().join(name);
    let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
        .args(["chat", "--url", &fake.url(), "--users", "4", "--rate", "200", "--seconds", "1.2"])
        .env("GOCHAT_COMMIT", "0123abc")
        .arg("--json")
        .arg(file("reports/run.json"))
        .arg("--csv")
        .arg(file("run.csv"))
        .arg("--hlog")
        .arg(file("run.hlog"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(code), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(file(name)).unwrap();
    let report = serde_json::from_str(&read("reports/run.json")).unwrap();
    schema::check(&report);
    Run { report, csv: read("run.csv"), hlog: read("run.hlog") }
}

#[test]
fn a_report_tells_what_was_measured_and_on_what() {
    let Run { report, csv, hlog } = chat(Fault::None, 0);
    assert_eq!((&report["scenario"], &report["exit"]), (&"chat".into(), &0.into()));
    assert_eq!(report["parameters"]["rate"], 200.0);
    assert_eq!(report["parameters"]["content_bytes"], 100, "defaults are told too");
    let fingerprint = &report["fingerprint"];
    assert_eq!(fingerprint["commit"], "0123abc", "as whoever built the server says");
    assert!(fingerprint["cores"].as_u64() > Some(0) && !fingerprint["kernel"].as_str().unwrap().is_empty());
    // The fake server lives in this test, and is found by its port.
    assert_eq!(report["server_pids"][0], std::process::id());
    assert!(report["samples"].as_array().unwrap().len() >= 2);
    assert!(report["samples"][0]["server"][0]["rss_bytes"].as_u64() > Some(0));
    let figures = &report["figures"];
    assert_eq!(figures["deliver.p99"], figures["p99"], "the main latency has short names");
    assert_eq!((&figures["p99"]["unit"], &figures["p99"]["better"]), (&"us".into(), &"lower".into()));
    assert_eq!(figures["lost"]["value"], 0.0);
    assert!(figures["client_cpu_us_per_op"]["value"].as_f64().unwrap() >= 0.0, "the tool tells its own cost");
    let in_intervals: u64 = report["intervals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|interval| interval["done"].as_u64().unwrap())
        .sum();
    assert!(in_intervals > 0 && in_intervals <= 240, "{in_intervals}");
    assert_eq!(report["latencies"]["deliver"]["count"], 240);
    assert_eq!(csv.lines().count(), 1 + report["intervals"].as_array().unwrap().len());
    let rows: Vec<&str> = hlog.lines().filter(|line| line.contains("HISTF")).collect();
    assert_eq!(rows.len(), csv.lines().count() - 1, "{hlog}");
    assert!(hlog.starts_with("#[Histogram log format version 1.2]"));
}

#[test]
fn a_broken_promise_is_told_in_words() {
    let Run { report, .. } = chat(Fault::StoreTwice, 1);
    assert_eq!((&report["exit"], &report["verdict"]["holds"]), (&1.into(), &false.into()));
    assert!(report["verdict"]["doubled"].as_u64() > Some(0));
    assert!(report["verdict"]["broken"][0].as_str().unwrap().contains("Doubled in single_"), "{report}");
}
