//! Promise: every scenario of the load tool that speaks GoChat's protocol runs against a real server, finds its process, and finds nothing broken.
//! Method: a short run of each in this process over seeded users; the reports are read.
#[path = "../../../core/examples/echo.rs"]
#[allow(dead_code, unreachable_pub)] // its main is not used here
mod echo;
mod harness;

use std::path::Path;
use std::process::Command;

use gochat_core::{Config, Engine};
use gochat_perf::Exit;
use harness::Server;
use serde_json::Value;

const USERS: usize = 41;

/// Short runs, and a figure that each must have brought.
const SCENARIOS: [(&str, &str); 11] = [
    ("chat --users 20 --rate 100 --seconds 1", "ack.p99"),
    ("hold --users 40 --rate 50 --seconds 1 --settle-seconds 0", "held_cpu"),
    ("storm --users 20 --rate 50 --seconds 1", "synced"),
    ("hostile --users 20 --bad-clients 16 --rounds 1 --seconds 1", "deliver_with.p99"),
    (
        "mixed --users 41 --groups 5,10 --rate 100 --seconds 2 --flap-seconds 0.5 --warm-seconds 0",
        "hit_ratio",
    ),
    ("connect --users 41 --rate 50 --seconds 1", "ready.p99"),
    ("connect --users 2 --rate 0 --in-flight 2 --login --seconds 1", "login.p99"),
    ("slow-reader --users 10 --slow-users 5 --rounds 1 --seconds 2 --slow-seconds 1", "slow.p99"),
    ("group --members 30 --rate 20 --seconds 1", "deliveries_rate"),
    ("world --users 40 --rate 20 --seconds 1", "server_cpu_us_per_delivery"),
    ("fan-out --receivers 30 --rate 20 --seconds 1", "server_switches_per_op"),
];

#[test]
fn every_scenario_runs_and_finds_nothing_broken() {
    let work = tempfile::tempdir().unwrap();
    let (data, list) = (work.path().join("data"), work.path().join("users.jsonl"));
    let seeded = Command::new(env!("CARGO_BIN_EXE_gochat"))
        .args(["seed", "--users", &USERS.to_string(), "--out"])
        .arg(&list)
        .arg("--data")
        .arg(&data)
        .status()
        .expect("gochat seed runs");
    assert!(seeded.success());
    let server = Server::start(&data);
    for (words, figure) in SCENARIOS {
        let report = play(&server, words, &list, &work.path().join("report.json"));
        let value = report["figures"][figure]["value"].as_f64();
        assert!(value.is_some_and(|value| value >= 0.0), "{words}: no {figure} in {}", report["figures"]);
        assert_eq!(report["server_pids"][0], server.pid(), "{words}");
    }
}

fn play(server: &Server, words: &str, users: &Path, json: &Path) -> Value {
    let (url, admin) = (server.url(""), format!("http://{}", server.admin));
    let mut args: Vec<&str> = std::iter::once("gochat-perf").chain(words.split(' ')).collect();
    args.extend(["--url", &url, "--admin", &admin]);
    args.extend(["--users-file", users.to_str().unwrap(), "--json", json.to_str().unwrap()]);
    let exit = gochat_perf::command::run(args);
    let report: Value = serde_json::from_slice(&std::fs::read(json).expect("a report")).expect("JSON");
    assert_eq!(exit, Exit::Ok, "{words}: {}", report["verdict"]);
    report
}

#[test]
fn the_engines_echo_server_says_everything_back() {
    let config = Config { listen: "127.0.0.1:0".parse().unwrap(), shards: 1, ..echo::config() };
    let engine = Engine::start(config, |_| echo::Echo::default()).expect("the engine starts");
    let (work, url) = (tempfile::tempdir().unwrap(), format!("http://{}", engine.local_addr()));
    let json = work.path().join("report.json");
    for how in ["--depth 1", "--depth 16 --message-bytes 4000", "--depth 4 --rate 2000"] {
        let words = format!("gochat-perf echo --connections 200 --seconds 0.5 {how} --url {url} --json");
        let exit = gochat_perf::command::run(words.split(' ').chain(json.to_str()));
        let report: Value = serde_json::from_slice(&std::fs::read(&json).expect("a report")).expect("JSON");
        assert_eq!(exit, Exit::Ok, "{how}: {}", report["verdict"]);
        let result = &report["result"];
        assert!(result["answered"].as_u64() > Some(200) && result["checked"] == 2, "{how}: {result}");
    }
    engine.drain();
    let _ = engine.join();
}
