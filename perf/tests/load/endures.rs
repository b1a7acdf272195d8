//! Goal: what the protocol allows (lost acks, lost, doubled and late deliveries, retries, dropped connections,
//! a server that dies and comes back) never makes the load report a broken promise, and everything gets through.

use std::time::Duration;

use gochat_perf::checker::{self, Verdict};
use gochat_perf::{ChatLoad, ClientRules, LoadConfig, LoadOutcome, Room};

use crate::fake::{Fake, Fault, users};

pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

pub(crate) fn config(fake: &Fake) -> LoadConfig {
    let rules = ClientRules {
        resend_after_ms: 300,
        hole_wait_ms: 100,
        tail_wait_ms: 200,
        answer_wait_ms: 1_000,
        backoff_min_ms: 20,
        page_messages: 4,
        ..ClientRules::default()
    };
    LoadConfig { rate_per_s: 400.0, rules, threads: 2, ..LoadConfig::new(fake.target(), users(8)) }
}

/// Users 2, 4 and 6 in a room, and nothing else.
pub(crate) fn room_config(fake: &Fake) -> LoadConfig {
    let members = users(6).into_iter().filter(|user| user.id % 2 == 0).collect();
    let room = Room { conversation_id: "group_2_4_6".to_owned(), users: members };
    LoadConfig { users: Vec::new(), rooms: vec![room], ..config(fake) }
}

/// Runs a load of pairs until `messages` were sent.
pub(crate) fn run(fake: &Fake, messages: u64) -> (LoadOutcome, Verdict) {
    run_config(config(fake), messages)
}

pub(crate) fn run_config(config: LoadConfig, messages: u64) -> (LoadOutcome, Verdict) {
    let load = ChatLoad::start(config).unwrap();
    load.wait_ready(PATIENCE).unwrap();
    load.begin();
    wait_for(&load, |load| load.progress().sent >= messages);
    let outcome = load.stop(PATIENCE);
    let verdict = checker::check(&outcome.history);
    (outcome, verdict)
}

pub(crate) fn wait_for(load: &ChatLoad, done: impl Fn(&ChatLoad) -> bool) {
    let began = std::time::Instant::now();
    while !done(load) {
        assert!(began.elapsed() < PATIENCE, "{:?} {}", load.progress(), load.trouble());
        std::thread::yield_now();
    }
}

#[track_caller]
fn holds(fault: Fault, also: impl Fn(&LoadOutcome) -> bool) {
    let fake = Fake::start(fault);
    fake.world.lock().unwrap().preload("single_1_2", 9);
    let (outcome, verdict) = run(&fake, 200);
    assert!(outcome.is_complete(), "{fault:?}: {:?}", outcome.progress);
    assert!(verdict.holds(), "{fault:?}: {verdict}");
    let progress = &outcome.progress;
    assert!(
        progress.sent >= 200 && progress.stored + progress.rejected == progress.sent,
        "{fault:?}: {progress:?}"
    );
    assert_eq!(progress.delivered, progress.stored, "{fault:?}");
    assert_eq!(outcome.latencies.ack.len(), progress.stored);
    assert_eq!(outcome.latencies.deliver.len(), progress.stored);
    let base = outcome.history.conversations.iter().find(|c| c.id == "single_1_2").unwrap().base_seq;
    assert_eq!(base, 9, "history from before the load is left alone");
    assert!(also(&outcome), "{fault:?}: {progress:?}");
}

#[test]
fn nothing_wrong() {
    holds(Fault::None, |outcome| {
        let p = &outcome.progress;
        p.resent + p.redelivered + p.disconnects + p.bad_frames + p.rejected + p.skipped + p.retried == 0
    });
}

#[test]
fn a_room_in_which_all_write() {
    let fake = Fake::start(Fault::DropStoredAck);
    let (outcome, verdict) = run_config(room_config(&fake), 120);
    assert!(verdict.holds() && outcome.is_complete(), "{verdict} {:?}", outcome.progress);
    assert_eq!(outcome.progress.delivered, 2 * outcome.progress.stored, "each message reaches both others");
    let [room] = outcome.history.conversations.as_slice() else { panic!("one conversation") };
    assert!(room.members.iter().all(|member| member.sends.len() >= 40), "everybody takes his turn");
}

#[test]
fn lost_acks() {
    holds(Fault::DropStoredAck, |outcome| outcome.progress.resent >= 40);
    holds(Fault::DropAcceptedAck, |outcome| outcome.progress.accepted < outcome.progress.stored);
}

#[test]
fn lost_deliveries() {
    holds(Fault::DropDelivery, |outcome| outcome.progress.holes > 0);
}

#[test]
fn doubled_and_late_deliveries() {
    holds(Fault::DoubleDelivery, |outcome| outcome.progress.redelivered >= 40);
    holds(Fault::DelayDelivery, |_| true);
}

#[test]
fn retries() {
    holds(Fault::Retry, |outcome| outcome.progress.retried >= 20 && outcome.progress.resent >= 20);
}

#[test]
fn rejections() {
    holds(Fault::Reject, |outcome| outcome.progress.rejected >= 40);
}

#[test]
fn dropped_connections() {
    holds(Fault::Disconnect, |outcome| outcome.progress.disconnects >= 20);
}

/// Kills the server three times under load, and brings it back on the same port.
fn through_restarts(between: impl Fn(&mut Fake)) -> (LoadOutcome, Verdict) {
    let mut fake = Fake::start(Fault::DropStoredAck);
    let load = ChatLoad::start(config(&fake)).unwrap();
    load.wait_ready(PATIENCE).unwrap();
    load.begin();
    for round in 1..=3 {
        wait_for(&load, |load| load.progress().stored >= round * 60);
        fake.kill();
        wait_for(&load, |load| load.progress().connected == 0);
        between(&mut fake);
        fake.listen();
    }
    wait_for(&load, |load| load.progress().stored >= 300);
    let outcome = load.stop(PATIENCE);
    let verdict = checker::check(&outcome.history);
    (outcome, verdict)
}

#[test]
fn a_server_that_dies_and_comes_back() {
    let (outcome, verdict) = through_restarts(|_| {});
    assert!(outcome.is_complete() && outcome.progress.disconnects >= 24, "{:?}", outcome.progress);
    assert!(verdict.holds(), "{verdict}");
}

#[test]
fn a_server_that_comes_back_with_less() {
    let (_, verdict) = through_restarts(|fake| fake.world.lock().unwrap().lose_newest());
    assert!(verdict.lost > 0, "{verdict}");
}

#[test]
fn a_server_that_never_comes() {
    let mut fake = Fake::start(Fault::None);
    let config = config(&fake);
    fake.kill();
    let load = ChatLoad::start(config).unwrap();
    let error = load.wait_ready(Duration::from_millis(200)).unwrap_err();
    assert!(error.to_string().contains("0 of 8 sessions"), "{error}");
    let outcome = load.stop(Duration::from_millis(100));
    assert!(!outcome.is_complete());
}
