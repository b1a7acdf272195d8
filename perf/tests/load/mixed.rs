//! Goal: a mobile day is as uneven as it was asked for, and judged as strictly as an even one.

use std::process::Command;

use gochat_perf::{ChatLoad, Habits, LoadConfig, checker};
use serde_json::Value;

use crate::endures::{PATIENCE, wait_for};
use crate::fake::{Fake, Fault, users};
use crate::schema;

/// A short day; `more` replaces what is in it.
fn mixed(fake: &Fake, more: &[(&str, &str)], code: i32) -> (Value, String) {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let url = fake.url();
    let day = [
        ("--url", url.as_str()),
        ("--json", json.to_str().unwrap()),
        ("--users", "9"),
        ("--groups", "3,4"),
        ("--rate", "200"),
        ("--seconds", "0.8"),
        ("--warm-seconds", "0"),
        ("--idle-share", "0.5"),
        ("--flap-share", "0.5"),
        ("--flap-seconds", "0.1"),
        ("--backoff-min-ms", "20"),
        ("--read-rate", "100"),
    ];
    let kept = day.iter().filter(|(word, _)| more.iter().all(|(other, _)| other != word));
    let words = kept.chain(more).map(|(word, value)| format!("{word}={value}"));
    let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf")).arg("mixed").args(words).output().unwrap();
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
fn a_day_is_run_and_checked_and_tells_the_caches_hits() {
    let fake = Fake::start(Fault::DropStoredAck);
    let url = fake.url();
    let (report, _) = mixed(&fake, &[("--admin", &url)], 0);
    let result = &report["result"];
    let mut keys: Vec<&str> = result.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    assert_eq!(
        keys.join(" "),
        "back back_us chat cut groups hit_ratio hit_ratio_all mark_us page_us pairs readings refused_with_retry_after \
         refused_without_retry_after sessions synced synced_us"
    );
    assert_eq!((&result["groups"], &result["pairs"], &result["sessions"]), (&2.into(), &1.into(), &9.into()));
    assert!(result["chat"]["stored"].as_u64() > Some(100) && result["chat"]["lost"] == 0, "{result}");
    assert!(result["cut"].as_u64() > Some(0), "the flapping ones are cut: {result}");
    assert_eq!((&result["back"], &result["synced"]), (&result["cut"], &result["cut"]), "and come back");
    let readings = &result["readings"];
    assert!(readings["pages"].as_u64() > Some(0) && readings["marked"].as_u64() > Some(0), "{result}");
    assert_eq!(
        (&readings["failed"], &readings["refused_without_retry_after"]),
        (&0.into(), &0.into()),
        "{readings}"
    );
    let ratio = report["figures"]["hit_ratio"]["value"].as_f64().unwrap();
    assert!((0.6..=1.0).contains(&ratio), "{ratio}");
    assert_eq!(report["figures"]["hit_ratio"]["value"], result["hit_ratio"]);
    assert!(
        report["figures"]["page.p99"]["value"].is_number() && report["figures"]["p99"]["value"].is_number()
    );
}

#[test]
fn a_server_that_does_not_tell_its_hits_has_no_figure_for_them() {
    let (report, text) = mixed(&Fake::start(Fault::None), &[], 0);
    assert_eq!(report["result"]["hit_ratio"], Value::Null);
    assert_eq!(report["figures"]["hit_ratio"], Value::Null);
    assert!(text.contains("cache    unknown: give an --admin port"), "{text}");
}

#[test]
fn what_a_day_breaks_is_found() {
    let (report, _) = mixed(&Fake::start(Fault::ForgetStored), &[], 1);
    assert!(report["result"]["chat"]["lost"].as_u64() > Some(0), "{report}");
    let (report, text) = mixed(&Fake::start(Fault::SkipSeq), &[], 1);
    assert!(text.contains("has a gap, is out of order or holds another one's messages"), "{text}");
    assert!(report["verdict"]["gaps"].as_u64() > Some(0));
    let (_, text) = mixed(&Fake::start(Fault::BusyWithoutTime), &[], 1);
    assert!(text.contains("were refused without a Retry-After"), "{text}");
}

#[test]
fn days_that_cannot_be_are_2() {
    let fake = Fake::start(Fault::None);
    for wrong in [
        ("--users", "10"),
        ("--users", "6"),
        ("--groups", "2,3"),
        ("--zipf", "-1"),
        ("--idle-share", "1.5"),
        ("--burst-messages", "0"),
        ("--flap-seconds", "0"),
        ("--read-rate", "-1"),
        ("--page-messages", "0"),
        ("--read-connections", "0"),
        ("--settle-seconds", "1e9"),
    ] {
        mixed(&fake, &[wrong], 2);
    }
}

/// 40 users in pairs on one thread or several; how many messages each conversation got, descending.
fn messages_of(threads: usize, habits: Habits) -> Vec<usize> {
    let fake = Fake::start(Fault::None);
    let config = LoadConfig {
        rate_per_s: 2_000.0,
        threads,
        habits,
        seed: 7,
        ..LoadConfig::new(fake.target(), users(40))
    };
    let load = ChatLoad::start(config).unwrap();
    load.wait_ready(PATIENCE).unwrap();
    load.begin();
    wait_for(&load, |load| load.progress().sent >= 1_000);
    let outcome = load.stop(PATIENCE);
    assert!(outcome.is_complete() && checker::check(&outcome.history).holds(), "{:?}", outcome.progress);
    let sent = |conversation: &checker::ConversationHistory| {
        conversation.members.iter().map(|member| member.sends.len()).sum()
    };
    let mut counts: Vec<usize> = outcome.history.conversations.iter().map(sent).collect();
    counts.sort_unstable_by(|a, b| b.cmp(a));
    counts
}

#[test]
fn few_conversations_have_most_of_the_messages_and_idle_ones_have_none() {
    for threads in [1, 3] {
        let counts = messages_of(threads, Habits { zipf_exponent: 1.5, ..Habits::default() });
        let all: usize = counts.iter().sum();
        // 1 / sum of n^-1.5 up to 20 is 0.46; of an even load it would be 0.05.
        assert!(counts[0] * 3 > all && counts[19] * 20 < all, "{threads}: {counts:?}");
    }
    let counts = messages_of(1, Habits { idle_share: 0.9, ..Habits::default() });
    let busy = counts.iter().filter(|count| **count > 0).count();
    assert!((2..=4).contains(&busy), "four of forty write: {counts:?}");
    let even = messages_of(1, Habits::default());
    assert!(even[0] - even[19] <= 2, "in turn: {even:?}");
}

#[test]
fn bursts_leave_the_rate_what_it_is() {
    let fake = Fake::start(Fault::None);
    let habits = Habits { burst_share: 0.5, burst_messages: 9, ..Habits::default() };
    let config = LoadConfig { rate_per_s: 1_000.0, habits, ..LoadConfig::new(fake.target(), users(8)) };
    let load = ChatLoad::start(config).unwrap();
    load.wait_ready(PATIENCE).unwrap();
    load.begin_for(std::time::Duration::from_millis(500));
    wait_for(&load, |load| load.progress().stored >= 500);
    let outcome = load.stop(PATIENCE);
    assert_eq!(outcome.progress.sent, 500, "100 turns, half of them bursts of nine");
    let dues = outcome.history.conversations.iter().flat_map(|conversation| &conversation.members);
    let mut times: Vec<u64> = dues.flat_map(|member| member.sends.iter().map(|send| send.due_us)).collect();
    times.sort_unstable();
    times.dedup();
    assert_eq!(times.len(), 100, "a burst is due in one moment");
}
