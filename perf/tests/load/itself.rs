//! Goal: the tool is measured itself: against a server that does next to nothing its own part can be told, a server that stands still shows in
//! the percentiles as it must, and one that breaks a promise fails the run whatever its speed.
//! Method: all through the command line; the null server is a process of its own, which SIGSTOP can hold.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::Deserializer;
use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::fake::{Fake, Fault};
use crate::schema;

fn perf() -> Command {
    Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
}

struct Null {
    process: Child,
    url: String,
}

impl Null {
    fn start() -> Null {
        let mut process =
            perf().args(["null", "--listen", "127.0.0.1:0"]).stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let addr = line.strip_prefix("ready ").expect("it says where it listens").trim();
        Null { url: format!("http://{addr}"), process }
    }

    fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.process), signal).unwrap();
    }
}

impl Drop for Null {
    fn drop(&mut self) {
        // Also ends one that stands still.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn report(json: &Path) -> Value {
    let report = serde_json::from_slice(&std::fs::read(json).unwrap()).unwrap();
    schema::check(&report);
    report
}

#[track_caller]
fn run(url: &str, words: &[&str], code: i32) -> Value {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let output = perf().args(words).args(["--url", url, "--json"]).arg(&json).output().unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{words:?}: {text}");
    report(&json)
}

#[test]
fn a_null_server_keeps_every_promise_and_leaves_the_tools_own_cost() {
    let null = Null::start();
    let chat = run(&null.url, &["chat", "--users", "20", "--rate", "1000", "--seconds", "1"], 0);
    let result = &chat["result"];
    assert_eq!((&result["sent"], &result["stored"]), (&1000.into(), &1000.into()));
    assert_eq!(result["delivered"], 1000);
    assert_eq!(chat["server_pids"][0], null.process.id());
    let figure = |name: &str| chat["figures"][name]["value"].as_f64();
    for name in ["client_cpu_us_per_op", "server_cpu_us_per_op", "p50", "lateness.p50"] {
        assert!(figure(name).is_some(), "{name}: {}", chat["figures"]);
    }
    let storm = ["storm", "--users", "20", "--rate", "200", "--seconds", "0.5", "--backoff-min-ms", "50"];
    assert_eq!(run(&null.url, &storm, 0)["result"]["cut"], 20);
    let echo = ["echo", "--connections", "4", "--rate", "400", "--warm-seconds", "0", "--seconds", "0.5"];
    let echo = run(&null.url, &echo, 0);
    assert_eq!(echo["result"]["answered"], 200);
}

/// Whether this machine lets us count system calls at all.
fn can_count_syscalls() -> bool {
    let counted =
        Command::new("perf").args(["stat", "-x", ",", "-e", "raw_syscalls:sys_enter", "true"]).output();
    counted.is_ok_and(|counted| {
        let text = String::from_utf8_lossy(&counted.stderr).into_owned();
        text.lines().any(|line| line.split(',').next().is_some_and(|count| count.parse::<u64>().is_ok()))
    })
}

#[test]
fn system_calls_are_counted_or_the_report_says_why_not() {
    let null = Null::start();
    let words = ["chat", "--users", "4", "--rate", "200", "--seconds", "2", "--syscalls"];
    let report = run(&null.url, &words, 0);
    let counted = report["figures"]["server_syscalls_per_op"]["value"].as_f64();
    let findings = report["doctor"].as_array().unwrap().iter();
    let why =
        findings.filter(|finding| finding["check"] == "syscalls").map(|finding| &finding["text"]).next();
    match (counted, why) {
        // A message is read, and its answers are written.
        (Some(calls), None) => {
            assert!(calls > 0.5, "{calls}");
            let last = report["samples"].as_array().unwrap().last().unwrap();
            assert!(last["server_syscalls"][0].as_u64() > Some(200), "{last}");
        }
        (None, Some(why)) if !can_count_syscalls() => {
            assert!(why.as_str().unwrap().starts_with("not counted: "), "{why}")
        }
        both => panic!("{both:?}"),
    }
    let silent = run(&null.url, &words[..7], 0);
    assert_eq!(silent["figures"]["server_syscalls_per_op"], Value::Null, "off by default");
}

/// Latencies of a log, in µs.
fn recorded(hlog: &Path) -> Histogram<u64> {
    let text = std::fs::read(hlog).unwrap();
    let mut all = Histogram::<u64>::new_with_bounds(1, 3_600_000_000, 3).unwrap();
    for entry in IntervalLogIterator::new(&text) {
        if let LogEntry::Interval(interval) = entry.unwrap() {
            let bytes = base64::Engine::decode(
                &base64::engine::general_purpose::STANDARD,
                interval.encoded_histogram(),
            )
            .unwrap();
            let part: Histogram<u64> = Deserializer::new().deserialize(&mut &bytes[..]).unwrap();
            all.add(part).unwrap();
        }
    }
    all
}

#[test]
fn a_server_that_stands_still_shows_for_every_message_that_became_due_meanwhile() {
    const RATE: u64 = 200;
    const STILL: Duration = Duration::from_secs(2);
    let null = Null::start();
    let dir = tempfile::tempdir().unwrap();
    let [json, hlog] = ["report.json", "raw.hlog"].map(|name| dir.path().join(name));
    let mut load = perf()
        .args(["chat", "--url", &null.url, "--users", "20", "--rate", &RATE.to_string(), "--seconds", "8"])
        .arg("--json")
        .arg(&json)
        .arg("--hlog")
        .arg(&hlog)
        .stderr(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(load.stderr.take().unwrap()).lines();
    // The first second of sending is over.
    assert!(lines.by_ref().any(|line| line.unwrap().contains("  sent ")), "no progress");
    null.signal(Signal::STOP);
    let still = Instant::now();
    std::thread::sleep(STILL);
    assert!(still.elapsed() >= STILL);
    null.signal(Signal::CONT);
    lines.for_each(drop);
    assert_eq!(load.wait().unwrap().code(), Some(0));
    let report = report(&json);
    let delivered = &report["latencies"]["deliver"];
    assert_eq!(delivered["count"], 8 * RATE);
    assert!(delivered["max"].as_u64() >= Some(1_900_000), "{delivered}");
    // Due in the stall's first second: they waited a second or more. A closed loop would show one message of each pair.
    let recorded = recorded(&hlog);
    let slow = recorded.count_between(1_000_000, u64::MAX);
    assert!(slow * 10 >= RATE * 8, "{slow} messages of {} took a second or more", recorded.len());
    let half = recorded.count_between(500_000, u64::MAX);
    assert!(half * 10 >= RATE * 12, "{half} messages took half a second or more");
}

/// A short chat against a server with this fault ends with 1, and says why.
#[track_caller]
fn fails(fault: Fault, what: &str, more: &[&str]) {
    let fake = Fake::start(fault);
    let words = ["chat", "--users", "6", "--rate", "300", "--seconds", "0.5"];
    let report = run(&fake.url(), &[&words[..], more].concat(), 1);
    let verdict = &report["verdict"];
    let said = verdict["broken"][0].as_str().is_some_and(|words| words.contains(what));
    assert!(verdict[what].as_u64() > Some(0) || said, "{fault:?}: {verdict}");
}

#[test]
fn a_server_that_drops_fails_the_run() {
    // What is never answered would be sent again for as long as the load waits.
    fails(Fault::NeverAck, "without a final answer", &["--settle-seconds", "2"]);
    fails(Fault::ForgetStored, "lost", &[]);
    fails(Fault::ForgetAccepted, "lost", &[]);
    fails(Fault::SkipSeq, "gaps", &[]);
}

#[test]
fn a_server_that_doubles_or_makes_up_fails_the_run() {
    fails(Fault::StoreTwice, "doubled", &[]);
    fails(Fault::NewIdAtResend, "doubled", &[]);
    fails(Fault::ChangeContent, "phantom", &[]);
    fails(Fault::MakeUp, "phantom", &[]);
}

#[test]
fn a_server_that_reorders_fails_the_run() {
    fails(Fault::SwapOrder, "out_of_order", &[]);
    fails(Fault::OtherOrderForOne, "out_of_order", &[]);
    fails(Fault::AckOtherSeq, "out_of_order", &[]);
}
