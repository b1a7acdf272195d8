//! Goal: a difference is called one when it is more than noise, and only then; conditions and comparisons end with stable exit codes.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

use crate::fake::{Fake, Fault};
use crate::schema;

fn perf(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_gochat-perf")).args(args).output().unwrap()
}

/// What was printed.
#[track_caller]
fn ends(args: &[&str], code: i32) -> String {
    let output = perf(args);
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(code), "{text}{}", String::from_utf8_lossy(&output.stderr));
    text
}

const SHORT: [&str; 6] = ["--users", "4", "--rate", "200", "--seconds", "0.3"];

fn chat<'a>(url: &'a str, json: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    [&["chat", "--url", url, "--json", json], &SHORT[..], more].concat()
}

#[test]
fn conditions_decide_the_exit_code_when_promises_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("run.json");
    let json = json.to_str().unwrap();
    let fake = Fake::start(Fault::None);
    let text = ends(&chat(&fake.url(), json, &["--assert", "lost=0,p99<60s"]), 0);
    assert!(text.contains("p99<60s holds"), "{text}");
    let text = ends(&chat(&fake.url(), json, &["--assert", "lost=0", "--assert", "rate>1000000"]), 4);
    assert!(text.contains("rate>1000000 DOES NOT HOLD"), "{text}");
    let report: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    assert_eq!((&report["exit"], &report["asserted"][1]["holds"]), (&4.into(), &false.into()));
    ends(&chat(&fake.url(), json, &["--assert", "p99<fast"]), 2);
    let broken = Fake::start(Fault::StoreTwice);
    ends(&chat(&broken.url(), json, &["--assert", "rate>1000000"]), 1);
}

/// Reports of some runs, made of a real one: the same but for one figure.
fn reports_with(figure: &str, folder: PathBuf, model: &Value, values: &[f64]) -> PathBuf {
    std::fs::create_dir(&folder).unwrap();
    for (run, value) in values.iter().enumerate() {
        let mut report = model.clone();
        report["figures"][figure]["value"] = (*value).into();
        std::fs::write(folder.join(format!("{run}.json")), report.to_string()).unwrap();
    }
    folder
}

fn compare(a: &Path, b: &Path, more: &[&str], code: i32) -> String {
    let [a, b] = [a, b].map(|path| path.to_str().unwrap());
    ends(&[&["compare", a, b, "--figures", "rate"], more].concat(), code)
}

/// A real report, which others are made of.
fn model(dir: &Path) -> Value {
    let json = dir.join("run.json");
    let fake = Fake::start(Fault::None);
    ends(&chat(&fake.url(), json.to_str().unwrap(), &[]), 0);
    serde_json::from_slice(&std::fs::read(&json).unwrap()).unwrap()
}

#[test]
fn a_gate_with_a_margin_lets_pass_what_may_lie_within_it() {
    let dir = tempfile::tempdir().unwrap();
    let mut model = model(dir.path());
    model["figures"]["server_cpu_us_per_op"] =
        serde_json::json!({"value": 0, "unit": "us", "better": "lower"});
    let recorded = [100.0, 101.0, 99.0, 102.0, 98.0];
    let check = |figure: &str, name: &str, now: &[f64], code: i32| {
        let of = |side: &str, values| {
            reports_with(figure, dir.path().join(format!("{figure}-{name}-{side}")), &model, values)
        };
        let (a, b) = (of("a", &recorded), of("b", now));
        let [a, b] = [&a, &b].map(|path| path.to_str().unwrap());
        ends(&["compare", a, b, "--figures", figure, "--gate", "--worse-by", "15%"], code)
    };
    let text = check("server_cpu_us_per_op", "ten more", &[110.0, 111.0, 109.0, 112.0, 108.0], 0);
    assert!(text.contains("perhaps by no more than is allowed"), "{text}");
    // Their median is 17 % above, but one run may as well belong to a server that is 15 % worse: 1.15 times 102 is 117.3.
    check("server_cpu_us_per_op", "perhaps", &[117.0, 118.0, 116.0, 119.0, 120.0], 0);
    let text = check("server_cpu_us_per_op", "surely", &[118.0, 119.0, 118.5, 120.0, 121.0], 5);
    assert!(text.contains("WORSE"), "{text}");
    check("server_cpu_us_per_op", "less", &[50.0, 51.0, 49.0, 52.0, 48.0], 0);
    check("rate", "within", &[90.0, 91.0, 89.0, 92.0, 88.0], 0);
    check("rate", "beyond", &[80.0, 81.0, 79.0, 82.0, 78.0], 5);
    check("rate", "more", &[180.0, 181.0, 179.0, 182.0, 178.0], 0);
}

#[test]
fn a_gate_that_cannot_look_does_not_stand_open() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let folder = |name: &str, values: &[f64]| reports_with("rate", dir.path().join(name), &model, values);
    let (five, three) = (folder("five", &[100.0; 5]), folder("three", &[100.0; 3]));
    compare(&five, &five, &["--gate"], 0);
    compare(&five, &three, &["--gate"], 3);
    compare(&five, &three, &[], 0);
    compare(&five, &five, &["--gate", "--figures", "no_such_figure"], 3);
    compare(&five, &five, &["--worse-by", "15%"], 2);
    for wrong in ["much", "-1", "NaN", "%"] {
        compare(&five, &five, &["--gate", &format!("--worse-by={wrong}")], 2);
    }
}

#[test]
fn only_differences_beyond_noise_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let model = model(dir.path());
    let folder = |name: &str, rates| reports_with("rate", dir.path().join(name), &model, rates);
    let a = folder("a", &[100.0, 101.0, 99.0, 102.0, 98.0]);
    let alike = folder("alike", &[100.5, 98.5, 101.5, 103.0, 97.0]);
    let slower = folder("slower", &[90.0, 91.0, 89.0, 92.0, 88.0]);
    assert!(compare(&a, &alike, &["--gate"], 0).contains("no more than noise"));
    let text = compare(&a, &slower, &[], 0);
    assert!(text.contains("B: -10.0 %") && text.contains("WORSE"), "{text}");
    compare(&a, &slower, &["--gate"], 5);
    assert!(compare(&slower, &a, &["--gate"], 0).contains("better"));
    let table = dir.path().join("table.json");
    compare(&a, &slower, &["--json", table.to_str().unwrap()], 0);
    let table: Value = serde_json::from_slice(&std::fs::read(&table).unwrap()).unwrap();
    schema::check_figures(&table);
    let rate = &table["figures"]["rate"];
    assert_eq!((&rate["unit"], &rate["targets"]["A"]["median"]), (&"1/s".into(), &100.0.into()));
    assert_eq!((&rate["targets"]["B"]["low"], &rate["targets"]["B"]["high"]), (&88.0.into(), &92.0.into()));
    assert!(table["host"]["kernel"].is_string());
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("run.json");
    let mut other = model(dir.path());
    let write = |report: &Value| {
        let path = dir.path().join("other.json");
        std::fs::write(&path, report.to_string()).unwrap();
        path
    };
    other["parameters"]["rate"] = 300.0.into();
    let text = compare(&json, &write(&other), &[], 0);
    assert!(text.contains("not alike: rate is 200.0, and 300.0 in B"), "{text}");
    other["scenario"] = "storm".into();
    compare(&json, &write(&other), &[], 3);
    other["format"] = 99.into();
    compare(&json, &write(&other), &[], 3);
    compare(&json, Path::new("/nonexistent"), &[], 3);
}

#[test]
fn targets_are_run_by_turns_and_a_broken_one_ends_it() {
    let dir = tempfile::tempdir().unwrap();
    let (reports, json) = (dir.path().join("runs"), dir.path().join("versus.json"));
    let [reports, json] = [&reports, &json].map(|path| path.to_str().unwrap());
    let versus = |one: &Fake, other: &Fake, code| {
        let targets = [format!("one={}", one.url()), format!("other={},content-bytes=300", other.url())];
        let how = [
            "versus",
            "--target",
            &targets[0],
            "--target",
            &targets[1],
            "--reports",
            reports,
            "--json",
            json,
        ];
        ends(&[&how[..], &["--", "chat"], &SHORT[..]].concat(), code)
    };
    let [one, other] = [Fake::start(Fault::None), Fake::start(Fault::None)];
    let text = versus(&one, &other, 0);
    assert!(text.contains("not alike: content_bytes is 100, and 300 in other"), "{text}");
    let table: Value = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    schema::check_figures(&table);
    for target in ["one", "other"] {
        assert_eq!(table["figures"]["p50"]["targets"][target]["values"].as_array().unwrap().len(), 5);
    }
    let began = |target: &str, round: u32| {
        let report = std::fs::read(Path::new(reports).join(target).join(format!("{round}.json"))).unwrap();
        serde_json::from_slice::<Value>(&report).unwrap()["started_unix_ms"].as_u64().unwrap()
    };
    assert!(
        began("one", 1) < began("other", 1) && began("other", 2) < began("one", 2),
        "each begins in turn"
    );
    let text = versus(&one, &Fake::start(Fault::StoreTwice), 1);
    assert!(text.contains("other did not get through round 1"), "{text}");
}

#[test]
fn the_doctor_looks_at_this_machine() {
    let text = ends(&["doctor", "--seconds", "0.1", "--json"], 0);
    let findings: Value = serde_json::from_str(&text).unwrap();
    assert!(findings.as_array().unwrap().len() >= 10, "{text}");
}
