//! Whoever sends too fast, or more than the pipeline can follow, is told to come again, and loses nothing.

use gochat_proto::queue::v1::{Ack, Resync, ack::Status, downstream::Body};
use serde_json::json;

use crate::{
    chat::upstream,
    harness::{Gate, Ws, send_message, until},
};

/// The next answer to a send: its status and code.
fn answer(ws: &mut Ws) -> (String, u64, Option<u64>) {
    let ack = ws.wait_for("message-ack");
    let status = ack["status"].as_str().expect("a status").to_owned();
    (status, ack["code"].as_u64().unwrap_or(0), ack["retryAfterMs"].as_u64())
}

fn status(ws: &mut Ws) -> (String, u64) {
    let (status, code, _) = answer(ws);
    (status, code)
}

fn accepted() -> (String, u64) {
    ("accepted".into(), 0)
}

fn retry(code: u64) -> (String, u64) {
    ("retry".into(), code)
}

fn finish(gate: &Gate, connection_id: u64, client_msg_id: &str, status: Status) {
    gate.down(Body::Ack(Ack {
        user_id: 1,
        connection_id,
        client_msg_id: client_msg_id.into(),
        conversation_id: "world".into(),
        status: status.into(),
        message_id: 1,
        seq_id: 1,
        code: 1002,
        reason: "no".into(),
    }));
}

#[test]
fn a_connection_that_sends_too_fast_is_told_when_to_come_again() {
    let gate = Gate::with(|config| {
        config.rates.connection_sends_per_s = 2;
        config.rates.connection_sends_burst = 2;
    });
    let mut ws = gate.connect(1, "d");
    ws.send_all(&["c1", "c2", "c3"].map(|id| send_message("world", "hi", id)));
    // The refusal does not wait for the queue.
    let mut answers = [answer(&mut ws), answer(&mut ws), answer(&mut ws)];
    answers.sort();
    assert_eq!((answers[0].0.as_str(), answers[1].0.as_str()), ("accepted", "accepted"));
    let (status, code, after_ms) = answers[2].clone();
    assert_eq!((status.as_str(), code), ("retry", 1012));
    assert!(after_ms.is_some_and(|ms| (1..=500).contains(&ms)), "{after_ms:?}");
    gate.connect(2, "d").send_message("world", "hi", "c1");
}

#[test]
fn what_follows_a_refused_message_waits_for_it() {
    let gate = Gate::with(|config| {
        config.rates.connection_sends_per_s = 50;
        config.rates.connection_sends_burst = 1;
    });
    let mut ws = gate.connect(1, "d");
    ws.send_all(&["c1", "c2"].map(|id| send_message("world", "hi", id)));
    let mut both = [status(&mut ws), status(&mut ws)];
    both.sort();
    assert_eq!(both, [accepted(), retry(1012)]);
    let mut send = |id: &str| {
        ws.send_message("world", "hi", id);
        status(&mut ws)
    };
    until("a place for c3, behind c2", || send("c3") == retry(1013));
    until("c2 returns", || send("c2") == accepted());
    until("c3 may follow", || send("c3") == accepted());
}

#[test]
fn all_connections_of_a_user_share_his_rate() {
    let gate = Gate::with(|config| {
        config.shards = 3;
        config.stats_interval_ms = 100;
        config.rates.user_sends_per_s = 1;
        config.rates.user_sends_burst = 2;
    });
    let mut devices = [gate.connect(1, "phone"), gate.connect(1, "laptop")];
    for (device, expect) in [(0, accepted()), (1, accepted()), (1, retry(1012))] {
        devices[device].send_message("world", "hi", "c1");
        assert_eq!(status(&mut devices[device]), expect);
    }
    let mut other = gate.connect(2, "phone");
    other.send_message("world", "hi", "c1");
    assert_eq!(status(&mut other), accepted());
    let line = "gateway_retries_total{reason=\"user_rate\"} 1\n";
    until(line, || gate.metrics.encode().contains(line));
}

#[test]
fn other_frames_have_a_rate_of_their_own() {
    let gate = Gate::with(|config| {
        config.rates.connection_requests_per_s = 1;
        config.rates.connection_requests_burst = 2;
    });
    let mut ws = gate.connect(1, "d");
    for id in 1..=3 {
        ws.send(&json!({"type": "ping", "id": id}).to_string());
    }
    assert_eq!((&ws.next()["type"], &ws.next()["type"]), (&json!("pong"), &json!("pong")));
    let refused = ws.next();
    assert_eq!(
        (&refused["type"], &refused["id"], &refused["data"]["code"]),
        (&json!("error"), &json!(3), &json!(1012))
    );
    assert!(refused["data"]["retryAfterMs"].as_u64().is_some_and(|ms| (1..=1000).contains(&ms)), "{refused}");
    ws.send_message("world", "hi", "c1");
    assert_eq!(status(&mut ws), accepted(), "messages are not concerned");
}

#[test]
fn who_does_not_stop_is_put_out() {
    let gate = Gate::with(|config| {
        config.rates.connection_sends_per_s = 1;
        config.rates.connection_sends_burst = 1;
        config.rates.connection_requests_per_s = 1;
        config.rates.connection_requests_burst = 1;
        config.rates.refusals_per_s = 1;
        config.rates.refusals_burst = 5;
    });
    let sends: Vec<String> = (0..10).map(|n| send_message("world", "hi", &format!("c{n}"))).collect();
    let bad: Vec<String> = (0..10).map(|n| send_message("world", "", &format!("c{n}"))).collect();
    let pings = vec![r#"{"type":"ping"}"#.to_owned(); 10];
    let nonsense: Vec<String> = vec![r#"{"type":"what"}"#.to_owned(); 10];
    for flood in [sends, bad, pings, nonsense] {
        let mut ws = gate.connect(1, "d");
        ws.send_all(&flood);
        assert_eq!(ws.closed(), 1008, "{}", flood[0]);
    }
}

#[test]
fn a_lagging_pipeline_is_given_no_more() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.upstream.unfinished_age_max_ms = 100;
        config.upstream.unfinished_forget_ms = 3_600_000;
    });
    let mut ws = gate.connect(1, "d");
    ws.send_message("world", "hi", "first");
    assert_eq!(status(&mut ws), accepted());
    let connection_id = upstream(&gate).connection_id;
    let mut taken = vec!["first".to_owned()];
    let mut refused = None;
    until("a refusal", || {
        // Another conversation each: nothing stands before it.
        let id = format!("c{}", taken.len());
        ws.send_message(&format!("group_{}", taken.len()), "hi", &id);
        let (status, code, after_ms) = answer(&mut ws);
        if status == "accepted" {
            taken.push(id);
            return false;
        }
        assert_eq!((status.as_str(), code), ("retry", 1013));
        refused = after_ms;
        true
    });
    assert!(refused.is_some_and(|ms| (500..=1000).contains(&ms)), "{refused:?}");
    // A rejection is no sign that the pipeline moves on.
    finish(&gate, connection_id, "c1", Status::Rejected);
    assert_eq!(status(&mut ws), ("rejected".into(), 1002));
    ws.send_message("single_1_2", "hi", "again");
    assert_eq!(status(&mut ws), retry(1013));
    for id in &taken {
        finish(&gate, connection_id, id, Status::Stored);
    }
    until("it has caught up", || {
        ws.send_message("single_1_2", "hi", "again");
        loop {
            match status(&mut ws) {
                (stored, _) if stored == "stored" => {}
                other => return other == accepted(),
            }
        }
    });
}

#[test]
fn what_the_pipeline_has_not_answered_for_is_counted() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.upstream.unfinished_per_shard_max = 2;
    });
    let mut ws = gate.connect(1, "d");
    for (id, expect) in [("c1", accepted()), ("c2", accepted()), ("c3", retry(1013))] {
        ws.send_message("world", "hi", id);
        assert_eq!(status(&mut ws), expect, "{id}");
    }
    finish(&gate, upstream(&gate).connection_id, "c1", Status::Rejected);
    assert_eq!(status(&mut ws), ("rejected".into(), 1002));
    ws.send_message("world", "hi", "c3");
    assert_eq!(status(&mut ws), accepted());
}

#[test]
fn what_was_lost_on_the_way_down_is_no_lag() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.upstream.unfinished_age_max_ms = 50;
        config.upstream.unfinished_forget_ms = 3_600_000;
        config.upstream.refused_conversations_max = 1;
    });
    let mut ws = gate.connect(1, "d");
    let mut id = 0;
    until("a refusal", || {
        id += 1;
        ws.send_message("world", "hi", &format!("c{id}"));
        status(&mut ws) == retry(1013)
    });
    gate.down(Body::Resync(Resync { user_ids: vec![], spread_ms: 0 }));
    ws.wait_for("resync");
    ws.send_message("world", "hi", &format!("c{id}"));
    assert_eq!(status(&mut ws), accepted());
}

#[test]
fn answers_that_never_come_do_not_shut_the_door_for_ever() {
    let gate = Gate::with(|config| {
        config.shards = 1;
        config.upstream.unfinished_age_max_ms = 50;
        config.upstream.unfinished_forget_ms = 400;
    });
    let mut ws = gate.connect(1, "d");
    let mut send = |id: u64| {
        ws.send_message("world", "hi", &format!("c{id}"));
        status(&mut ws)
    };
    let mut id = 0;
    assert_eq!(send(id), accepted());
    until("a refusal", || {
        id += 1;
        send(id) == retry(1013)
    });
    until("the unanswered are given up", || send(id) == accepted());
}
