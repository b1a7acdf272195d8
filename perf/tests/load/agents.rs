//! Goal: a load in several processes brings the figures, counts and findings of a load in one, and none of them gets lost quietly.
//! Method: the command line against the fake server; agents are killed, refused and misled.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, ChildStdout, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::command::{expect, keys, perf};
use crate::endures::PATIENCE;
use crate::fake::{Fake, Fault};
use crate::schema;

const TOKEN: &str = "a token that is long enough\n";

/// Runs `words` against the fake server; the report, and what was printed.
fn run(fake: &Fake, words: &[&str], code: i32) -> (Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let url = fake.url();
    let text = expect(&perf(&[words, &["--url", &url, "--json", json.to_str().unwrap()]].concat()), code);
    let Ok(bytes) = std::fs::read(&json) else { return (Value::Null, text) };
    let report = serde_json::from_slice(&bytes).unwrap();
    schema::check(&report);
    (report, text)
}

fn chat(fake: &Fake, more: &[&str], code: i32) -> (Value, String) {
    let words = ["chat", "--users", "10", "--rate", "200", "--seconds", "0.5", "--threads", "2"];
    run(fake, &[&words[..], more].concat(), code)
}

#[test]
fn several_processes_count_as_one() {
    for processes in ["1", "2", "3"] {
        let (report, _) = chat(&Fake::start(Fault::None), &["--processes", processes], 0);
        let result = &report["result"];
        for count in ["sent", "stored", "delivered"] {
            assert_eq!(result[count], 100, "{count} in {processes} processes");
        }
        assert_eq!((&report["verdict"]["holds"], &result["lost"]), (&true.into(), &0.into()));
        assert_eq!(report["latencies"]["deliver"]["count"], 100, "{processes} processes");
        assert!(report["figures"]["client_cpu_us_per_op"]["value"].is_number());
        let agents = report["agents"].as_array().unwrap();
        assert_eq!(agents.len(), if processes == "1" { 0 } else { processes.parse().unwrap() });
        if agents.is_empty() {
            continue;
        }
        let sessions: u64 = agents.iter().map(|agent| agent["sessions"].as_u64().unwrap()).sum();
        assert_eq!(sessions, 10, "each user is in one of them");
        for agent in agents {
            assert!(agent["samples"].as_array().unwrap().len() >= 2, "{agent}");
            assert!(agent["fingerprint"]["cores"].as_u64() > Some(0), "{agent}");
        }
    }
}

#[test]
fn what_is_lost_in_an_agent_is_found() {
    for (fault, finding) in [(Fault::ForgetStored, "lost"), (Fault::StoreTwice, "doubled")] {
        let (report, _) = chat(&Fake::start(fault), &["--processes", "2"], 1);
        assert!(report["verdict"][finding].as_u64() > Some(0), "{fault:?}: {}", report["verdict"]);
    }
}

#[test]
fn all_that_can_be_dealt_out_is() {
    let dir = tempfile::tempdir().unwrap();
    let users = dir.path().join("users");
    let line = |id| {
        format!(
            "{{\"userId\":\"{id}\",\"username\":\"u\",\"deviceId\":\"d\",\"accessToken\":\"user-{id}\"}}\n"
        )
    };
    std::fs::write(&users, (1..=10).map(line).collect::<String>()).unwrap();
    let fake = Fake::start(Fault::None);
    let hold = ["hold", "--users-file", users.to_str().unwrap(), "--seconds", "0.3", "--settle-seconds", "0"];
    let (report, _) = run(&fake, &[&hold[..], &["--processes", "2"]].concat(), 0);
    assert_eq!((&report["result"]["sessions"], &report["result"]["disconnects"]), (&10.into(), &0.into()));
    let (report, _) = run(&fake, &[&hold[..], &["--processes", "2", "--rate", "200"]].concat(), 0);
    assert_eq!(
        (&report["result"]["chat"]["sent"], &report["result"]["chat"]["lost"]),
        (&60.into(), &0.into())
    );
    let storm = [
        "storm",
        "--users",
        "8",
        "--rate",
        "200",
        "--seconds",
        "0.3",
        "--backoff-min-ms",
        "20",
        "--processes",
        "2",
    ];
    let (report, _) = run(&fake, &storm, 0);
    assert_eq!((&report["result"]["cut"], &report["result"]["chat"]["lost"]), (&8.into(), &0.into()));
    assert_eq!(report["latencies"]["synced"]["count"], 8);
    let soak = ["soak", "--users", "4", "--rate", "100", "--seconds", "1", "--processes", "2"];
    let (report, _) = run(&fake, &soak, 0);
    assert_eq!(report["result"]["chat"]["stored"], 100);
}

#[test]
fn what_the_processes_can_not_carry_is_refused_in_a_sentence() {
    let fake = Fake::start(Fault::None);
    let (_, text) = chat(&fake, &["--sessions-per-process", "4"], 2);
    assert!(text.contains("10 sessions are more than 1 processes of 4 carry: say --processes 3"), "{text}");
    chat(&fake, &["--sessions-per-process", "4", "--processes", "3"], 0);
    let (_, text) = chat(&fake, &["--processes", "6"], 2);
    assert!(text.contains("5 conversations can't be dealt out to 6 processes"), "{text}");
    chat(&fake, &["--processes", "0"], 2);
    chat(&fake, &["--processes", "2", "--agents", "127.0.0.1:9"], 2);
    for scenario in ["hostile", "echo", "group", "world", "fan-out"] {
        let (_, text) = run(&fake, &[scenario, "--processes", "2"], 2);
        assert!(text.contains("--processes"), "{scenario} can't be dealt out: {text}");
    }
}

/// A coordinator of two processes whose load goes on for a long time; killed at the end.
struct Running(Child);

impl Running {
    fn start(fake: &Fake, dir: &Path) -> Running {
        let (url, json) = (fake.url(), dir.join("report.json"));
        let load = ["chat", "--users", "8", "--rate", "200", "--seconds", "3600", "--processes", "2"];
        let child = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
            .args(load)
            .args(["--url", &url, "--json", json.to_str().unwrap()])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let running = Running(child);
        // Both agents write: the load is under way in each.
        until("both agents' users write", || {
            let world = fake.world.lock().unwrap();
            ["single_1_2", "single_3_4"].iter().all(|talk| !world.writers(talk).is_empty())
        });
        running
    }

    fn agents(&self) -> Vec<u32> {
        let parent_of = |pid: u32| {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
            stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse::<u32>().ok()
        };
        let pids = std::fs::read_dir("/proc").unwrap().flatten();
        let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
        pids.filter(|pid| parent_of(*pid) == Some(self.0.id())).collect()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn until(what: &str, holds: impl Fn() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// Gone, or dead and not yet buried.
fn has_ended(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_none_or(|(_, rest)| rest.trim_start().starts_with('Z'))
}

fn kill(pid: u32) {
    assert!(Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success());
}

#[test]
fn an_agent_that_dies_fails_the_run() {
    let fake = Fake::start(Fault::None);
    let dir = tempfile::tempdir().unwrap();
    let mut running = Running::start(&fake, dir.path());
    let agents = running.agents();
    assert_eq!(agents.len(), 2);
    kill(agents[1]);
    let mut text = String::new();
    running.0.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(running.0.wait().unwrap().code(), Some(3), "{text}");
    assert!(text.contains(&format!("(pid {}): it was lost (signal: 9", agents[1])), "{text}");
    assert!(!dir.path().join("report.json").exists(), "less load is no result");
    until("the other agent has ended too", || has_ended(agents[0]));
}

#[test]
fn agents_end_with_their_coordinator() {
    let fake = Fake::start(Fault::None);
    let dir = tempfile::tempdir().unwrap();
    let running = Running::start(&fake, dir.path());
    let agents = running.agents();
    assert_eq!(agents.len(), 2);
    kill(running.0.id());
    until("all agents have ended", || agents.iter().all(|pid| has_ended(*pid)));
}

/// An agent that listens; killed at the end.
struct Listening {
    child: Child,
    addr: String,
    /// Kept: whoever prints into a closed pipe fails.
    _output: BufReader<ChildStdout>,
}

impl Listening {
    fn start(more: &[&str]) -> Listening {
        let mut child = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
            .args(["agent", "--listen", "127.0.0.1:0"])
            .args(more)
            .env_remove("GOCHAT_PERF_TOKEN")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut output = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        output.read_line(&mut line).unwrap();
        let addr = line.trim().strip_prefix("agent listens on ").unwrap().to_owned();
        Listening { child, addr, _output: output }
    }

    /// The agent's answer to a first frame.
    fn hear(&self, frame: &[u8]) -> String {
        let mut link = TcpStream::connect(&self.addr).unwrap();
        write_frame(&mut link, frame);
        let mut answer = Vec::new();
        // A refused frame may end in a reset, after the answer if there is one.
        let _ = link.read_to_end(&mut answer);
        String::from_utf8_lossy(&answer).into_owned()
    }
}

fn write_frame(link: &mut TcpStream, frame: &[u8]) {
    link.write_all(&[&(frame.len() as u32).to_be_bytes()[..], frame].concat()).unwrap();
}

impl Drop for Listening {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn agents_that_listen_serve_one_run_after_another() {
    let fake = Fake::start(Fault::None);
    let (one, other) = (Listening::start(&[]), Listening::start(&["--sessions-max", "4"]));
    let both = format!("{},{}", one.addr, other.addr);
    for _ in 0..2 {
        let (report, _) = chat(&fake, &["--agents", &both], 0);
        assert_eq!((&report["result"]["stored"], &report["result"]["lost"]), (&100.into(), &0.into()));
        let names: Vec<&str> = report["agents"]
            .as_array()
            .unwrap()
            .iter()
            .map(|agent| agent["name"].as_str().unwrap())
            .collect();
        assert_eq!(names, [format!("agent {}", one.addr), format!("agent {}", other.addr)]);
        for agent in report["agents"].as_array().unwrap() {
            assert_eq!(keys(agent), "clock_uncertainty_us fingerprint name pid samples sessions");
            assert!(agent["clock_uncertainty_us"].as_f64() > Some(0.0), "{agent}");
        }
    }
    let (_, text) = chat(&fake, &["--agents", &format!("{},{}", other.addr, one.addr)], 3);
    let refusal = format!("agent {}: 6 sessions are asked of it, and its --sessions-max is 4", other.addr);
    assert!(text.contains(&refusal), "{text}");
}

#[test]
fn an_agent_works_for_one_coordinator_at_a_time() {
    let fake = Fake::start(Fault::None);
    let agent = Listening::start(&[]);
    let mut first = TcpStream::connect(&agent.addr).unwrap();
    let hello = r#"{"Hello":{"protocol":1,"version":"VERSION","token":null}}"#;
    write_frame(&mut first, hello.replace("VERSION", env!("CARGO_PKG_VERSION")).as_bytes());
    let mut length = [0; 4];
    first.read_exact(&mut length).unwrap();
    let (_, text) = chat(&fake, &["--agents", &agent.addr], 3);
    assert!(text.contains(&format!("agent {}: it works for another coordinator", agent.addr)), "{text}");
    drop(first);
    chat(&fake, &["--agents", &agent.addr], 0);
}

#[test]
fn strangers_are_refused() {
    let fake = Fake::start(Fault::None);
    let dir = tempfile::tempdir().unwrap();
    let (right, wrong, short) =
        (dir.path().join("right"), dir.path().join("wrong"), dir.path().join("short"));
    std::fs::write(&right, TOKEN).unwrap();
    std::fs::write(&wrong, TOKEN.replace("long", "wide")).unwrap();
    std::fs::write(&short, "sesame\n").unwrap();
    let path = |file: &Path| file.to_str().unwrap().to_owned();
    let agent = Listening::start(&["--token-file", &path(&right)]);
    let addr = agent.addr.as_str();
    chat(&fake, &["--agents", addr, "--token-file", &path(&right)], 0);
    let (_, text) = chat(&fake, &["--agents", addr, "--token-file", &path(&wrong)], 3);
    assert!(text.contains(&format!("agent {addr}: the token is wrong or missing")), "{text}");
    let (_, text) = chat(&fake, &["--agents", addr, "--token-file", &path(&short)], 2);
    assert!(text.contains("a token has 16 to"), "{text}");
    assert!(agent.hear(br#""Look""#).contains("the first order must be a hello"));
    assert_eq!(agent.hear(b"GET / HTTP/1.1"), "", "no order: no answer");
    let long = format!("\"{}\"", "x".repeat(5_000));
    assert_eq!(agent.hear(long.as_bytes()), "", "more than a stranger may send");
    chat(&fake, &["--agents", addr, "--token-file", &path(&right)], 0);
}

#[test]
fn an_agent_of_another_build_and_none_at_all_are_told() {
    let fake = Fake::start(Fault::None);
    let agent = Listening::start(&[]);
    for hello in [
        r#"{"Hello":{"protocol":999,"version":"VERSION","token":null}}"#,
        r#"{"Hello":{"protocol":1,"version":"0.0.0","token":null}}"#,
    ] {
        let answer = agent.hear(hello.replace("VERSION", env!("CARGO_PKG_VERSION")).as_bytes());
        assert!(answer.contains("Refused") && answer.contains("use one build everywhere"), "{answer}");
    }
    let addr = agent.addr.clone();
    drop(agent);
    let (_, text) = chat(&fake, &["--agents", &addr], 3);
    assert!(text.contains(&format!("agent {addr}: cannot connect")), "{text}");
}

#[test]
fn beyond_loopback_an_agent_needs_a_token() {
    let mut agent = Command::new(env!("CARGO_BIN_EXE_gochat-perf"));
    let output: Output =
        agent.args(["agent", "--listen", "0.0.0.0:0"]).env_remove("GOCHAT_PERF_TOKEN").output().unwrap();
    assert!(expect(&output, 2).contains("--token-file"));
}
