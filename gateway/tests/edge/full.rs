//! Whatever is full answers as the configuration says, counts it under its reason, and goes on with everyone else.

use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};

use gochat_infra::mq::FatalHandler;
use gochat_proto::repo::v1::session_change::Kind;
use serde_json::json;

use crate::harness::{Gate, delivery, message, send_message, until};

fn counted(gate: &Gate, line: &str) {
    until(line, || gate.metrics.encode().contains(line));
}

/// The value of one counter.
fn count(gate: &Gate, name: &str) -> u64 {
    let text = gate.metrics.encode();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}

#[test]
fn sends_in_flight_of_a_shard() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.stats_interval_ms = 100;
        config.upstream.in_flight_per_shard_max = 1;
    });
    let mut ws = gate.connect(1, "d");
    // One write: the shard reads both before the queue can confirm.
    ws.send_all(&["group_1", "group_2"].map(|to| send_message(to, "hi", "c1")));
    let mut answers = [ws.expect("message-ack"), ws.expect("message-ack")];
    answers.sort_by_key(|ack| ack["conversationId"].to_string());
    assert_eq!(answers[0]["status"], "accepted");
    assert_eq!(
        (&answers[1]["status"], &answers[1]["code"], &answers[1]["retryAfterMs"]),
        (&json!("retry"), &json!(1013), &json!(500))
    );
    counted(&gate, "gateway_retries_total{reason=\"shard_in_flight\"} 1\n");
    ws.send_message("group_2", "hi", "c1");
    assert_eq!(ws.expect("message-ack")["status"], "accepted");
}

#[test]
fn calls_that_hash_passwords() {
    let gate = Gate::with(|config| {
        config.stats_interval_ms = 100;
        config.side.auth_calls_max = 1;
        config.side.auth_queue_max = 1;
    });
    gate.fake.hold();
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..4 {
            let (gate, tell) = (&gate, tell.clone());
            scope.spawn(move || {
                let body = json!({"username": "ann", "password": "x"});
                let _ = tell.send(gate.http("POST", "/api/auth/login", None, Some(body)));
            });
        }
        // One is under way and one waits, at most.
        for _ in 0..2 {
            let refused = told.recv().expect("an answer");
            assert_eq!((refused.status, refused.header("Retry-After")), (503, Some("1")));
            assert_eq!(refused.json()["error"]["code"], 1013);
        }
        // Others are served.
        assert_eq!(gate.http("GET", "/api/users/me", Some(&gate.token(1, "d")), None).status, 200);
        gate.fake.release();
        let rest = [told.recv().expect("an answer").status, told.recv().expect("an answer").status];
        assert!(rest.contains(&200), "{rest:?}");
    });
    until("it is counted", || count(&gate, "gateway_side_refused_total{reason=\"auth_queue\"}") >= 2);
    let body = json!({"username": "ann", "password": "x"});
    assert_eq!(gate.http("POST", "/api/auth/login", None, Some(body)).status, 200, "there is room again");
}

#[test]
fn bytes_of_requests_that_wait() {
    let gate = Gate::with(|config| config.side.lane_max_bytes = 300_000);
    gate.fake.hold();
    let long = || Some(json!({"username": "x".repeat(200_000), "password": "x"}));
    let (tell, told) = mpsc::channel();
    thread::scope(|scope| {
        for _ in 0..2 {
            let (gate, tell) = (&gate, tell.clone());
            scope.spawn(move || tell.send(gate.http("POST", "/api/auth/login", None, long())));
        }
        let refused = told.recv().expect("an answer");
        assert_eq!((refused.status, &refused.json()["error"]["code"]), (503, &json!(1013)));
        gate.fake.release();
        assert_eq!(told.recv().expect("an answer").status, 200);
    });
    assert_eq!(count(&gate, "gateway_side_refused_total{reason=\"auth_bytes\"}"), 1);
    assert_eq!(gate.http("POST", "/api/auth/login", None, long()).status, 200, "the bytes are given back");
}

#[test]
fn requests_of_a_connection_that_wait() {
    let gate = Gate::with(|config| {
        config.stats_interval_ms = 100;
        config.requests.in_flight_per_connection_max = 1;
    });
    let mut ws = gate.connect_bound(1, "d");
    gate.fake.hold();
    ws.send_all(&[1, 2].map(|id| json!({"type": "heads", "id": id}).to_string()));
    let refused = ws.next();
    assert_eq!((&refused["id"], &refused["data"]["code"]), (&json!(2), &json!(1012)));
    assert!(refused["data"]["retryAfterMs"].is_u64(), "{refused}");
    counted(&gate, "gateway_frame_errors_total{code=\"rate-limited\"} 1\n");
    gate.fake.release();
    assert_eq!(ws.next()["id"], 1);
}

#[test]
fn heads_that_are_compared_once_more() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.stats_interval_ms = 100;
        config.requests.rechecks_per_shard_max = 1;
        config.requests.recheck_after_ms = 60_000;
    });
    let _first = gate.connect_bound(1, "d");
    let mut second = gate.connect(2, "d");
    second.send(r#"{"type":"heads"}"#);
    assert_eq!(second.wait_for("resync"), json!({"delayMs": 60_000}));
    counted(&gate, "gateway_rechecks_without_room_total 1\n");
}

#[test]
fn heads_that_are_kept() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.stats_interval_ms = 100;
        config.requests.heads_max = 2;
        config.requests.kept_heads_per_shard_max = 2;
        config.requests.recheck_after_ms = 60_000;
    });
    let heads = |ids: &[&str]| {
        let known: serde_json::Map<_, _> = ids.iter().map(|id| ((*id).to_owned(), json!(1))).collect();
        json!({"type": "heads", "id": "h", "data": {"conversations": known}}).to_string()
    };
    // Before the session is written they wait with the connection.
    gate.fake.hold();
    let (mut first, mut second) = (gate.connect(1, "d"), gate.connect(2, "d"));
    first.send(&heads(&["group_1", "group_2"]));
    first.expect_nothing();
    second.send(&heads(&["group_1"]));
    let refused = second.next();
    assert_eq!((&refused["id"], &refused["data"]["code"]), (&json!("h"), &json!(1013)));
    assert!(refused["data"]["retryAfterMs"].is_u64(), "{refused}");
    gate.fake.release();
    first.wait_for("heads");
    // Now they are kept for the second comparison: who finds no room makes one himself.
    until("its session is written", || {
        second.send(&heads(&["group_1"]));
        let told = second.next();
        told["type"] == "resync" && told["data"] == json!({"delayMs": 60_000})
    });
    until("it is counted", || count(&gate, "gateway_early_heads_refused_total") >= 1);
    counted(&gate, "gateway_rechecks_without_room_total 1\n");
    // An end gives the room back.
    first.close();
    until("there is room", || {
        let mut third = gate.connect_bound(3, "d");
        third.send(&heads(&["group_1"]));
        third.next()["type"] == "heads"
    });
}

#[test]
fn session_reports() {
    let gate = Gate::with(|config| {
        config.stats_interval_ms = 100;
        config.presence.queue_max = 1;
        config.presence.batch_max = 1;
    });
    gate.fake.hold();
    let (mut put_out, mut stay) = (0, Vec::new());
    until("one is put out", || {
        let user = 1 + put_out + stay.len() as u64;
        let mut ws = gate.connect(user, "d");
        match ws.pong_or_close() {
            Some(code) => {
                assert_eq!(code, 1013);
                put_out += 1;
            }
            None => stay.push(ws),
        }
        put_out > 0
    });
    counted(&gate, "gateway_closes_total{reason=\"presence_full\"} 1\n");
    // Its end could not be reported either.
    until("it is counted", || count(&gate, "gateway_presence_dropped_total") >= 1);
    gate.fake.release();
    for user in 1..=stay.len() as u64 {
        gate.fake.wait_for_session(Kind::Set, user);
    }
}

/// A mailbox of one mail, and far more messages than turns of the shard; the receivers that missed some are more than
/// are remembered.
#[test]
fn users_marked_for_resync() {
    let gate = Gate::with_queue(
        |config| {
            config.shards = 1;
            config.edge.mailbox_max_count = 1;
            config.edge.outbox_connection_max_bytes = 64 << 20;
            config.downstream.post_wait_ms = 0;
            config.downstream.resync_spread_ms = 10;
            config.downstream.marked_users_max = 1;
        },
        |queue| {
            queue.memory_max_records = 100_000;
            queue.memory_max_bytes = 1 << 30;
            queue.tail.max_records = 1;
        },
    );
    let mut bystander = gate.connect(1, "d");
    for seq in 1..=20_000 {
        gate.down(delivery(message("group_7", 2, seq), &[8, 9]));
    }
    assert!(bystander.expect("resync")["delayMs"].as_u64().is_some_and(|ms| ms <= 10));
    assert!(count(&gate, "gateway_downstream_marks_overflown_total") >= 1);
    assert!(count(&gate, "gateway_downstream_dropped_total") >= 1);
}

#[test]
fn the_time_for_ends_of_sessions() {
    let mut gate = Gate::with(|config| config.drain.sessions_deadline_ms = 50);
    let mut ws = gate.connect_bound(1, "d");
    gate.fake.hold();
    let report = thread::scope(|scope| {
        scope.spawn(move || assert_eq!(ws.closed(), 1001));
        gate.drain()
    });
    assert!(report.acks_complete && !report.sessions_reported, "{report:?}");
    gate.fake.release();
}

/// The log stands still at the message's fsync.
#[test]
fn the_time_for_confirmations() {
    let (go_on, gone_on) = mpsc::channel::<()>();
    let waiting = Mutex::new(gone_on);
    let handler = move |_: &str| {
        // Not for ever: a test that failed must end.
        let _ = waiting.lock().map(|waiting| waiting.recv_timeout(Duration::from_secs(20)));
    };
    let mut gate = Gate::with_queue(
        |config| config.drain.acks_deadline_ms = 50,
        |queue| {
            queue.fault_fsync_at = 1;
            queue.on_fatal = FatalHandler(Arc::new(handler));
        },
    );
    let mut ws = gate.connect(1, "d");
    ws.send_message("world", "hi", "c1");
    ws.expect_nothing();
    let report = thread::scope(|scope| {
        scope.spawn(move || assert_eq!(ws.closed(), 1001));
        gate.drain()
    });
    assert!(!report.acks_complete && report.sessions_reported, "{report:?}");
    let _ = go_on.send(());
}
