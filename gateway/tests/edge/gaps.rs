//! A slow reader is not put out for others' talk: what was left out for it is told in one frame.

use gochat_proto::{
    common::v1::Message,
    queue::v1::{Delivery, downstream::Body},
};
use serde_json::Value;

use crate::harness::{Gate, Ws, delivery, message, until};

fn gate(gaps_max: usize) -> Gate {
    Gate::with(|config| {
        config.shards = 1;
        config.stats_interval_ms = 100;
        config.downstream.gaps_per_connection_max = gaps_max;
        config.downstream.resync_spread_ms = 10;
        config.requests.in_flight_per_connection_max = 1;
        config.requests.heads_answer_max_bytes = 8 * 1024;
        config.requests.page_max_bytes = 8 * 1024;
        config.edge.outbox_connection_max_bytes = 64 * 1024;
    })
}

fn large(conversation: &str, seq: u64) -> Message {
    Message { content: "x".repeat(8_000), ..message(conversation, 2, seq) }
}

fn to_a_large_group(seq: u64, user: u64) -> Body {
    Body::Message(Delivery {
        message: Some(large("group_7", seq)),
        user_ids: vec![user],
        everyone: false,
        droppable: true,
    })
}

fn counted(gate: &Gate, name: &str) -> u64 {
    let text = gate.metrics.encode();
    let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    value.map_or(0, |value| value.parse().expect("a number"))
}

/// Sends until the reader's sockets and its outbox are full; returns the last seq.
fn flood(gate: &Gate, mut body: impl FnMut(u64) -> Vec<Body>) -> u64 {
    let mut seq = 0;
    until("something is left out", || {
        for _ in 0..20 {
            seq += 1;
            body(seq).into_iter().for_each(|body| gate.down(body));
        }
        counted(gate, "gateway_left_out_total") > 0
    });
    seq
}

fn seq_of(frame: &Value) -> u64 {
    frame["data"]["seqId"].as_u64().expect("a seq")
}

/// The last seq that a message or a gap told of.
fn heard_up_to(frames: &[Value], conversation: &str) -> u64 {
    let of_it = frames.iter().rev().find(|frame| frame["data"]["conversationId"] == conversation);
    of_it.map_or(0, |frame| frame["data"]["toSeq"].as_u64().unwrap_or_else(|| seq_of(frame)))
}

/// Reads until the marker, a message of a small group, and returns what came before.
fn read(ws: &mut Ws) -> Vec<Value> {
    let mut frames = Vec::new();
    loop {
        let frame = ws.next();
        if frame["data"]["conversationId"] == "group_1" {
            return frames;
        }
        frames.push(frame);
    }
}

/// Every seq once and in order, in a message or within a gap; returns how many gaps there were.
fn whole(frames: &[Value], conversation: &str, last: u64) -> usize {
    let (mut next, mut gaps) = (1, 0);
    for frame in frames.iter().filter(|frame| frame["data"]["conversationId"] == conversation) {
        if frame["type"] == "gap" {
            let [from, to] = ["fromSeq", "toSeq"].map(|key| frame["data"][key].as_u64().expect("a seq"));
            assert_eq!(from, next, "{frame}");
            assert!(to >= from, "{frame}");
            (next, gaps) = (to + 1, gaps + 1);
        } else {
            assert_eq!((&frame["type"], seq_of(frame)), (&"new-message".into(), next));
            next += 1;
        }
    }
    assert_eq!(next, last + 1, "of {conversation}");
    gaps
}

/// The frame as it is sent.
pub(crate) fn a_gap() -> Value {
    let gate = gate(16);
    let mut slow = gate.connect(1, "slow");
    flood(&gate, |seq| vec![delivery(large("world", seq), &[])]);
    loop {
        let frame = slow.next();
        if frame["type"] == "gap" {
            return frame;
        }
    }
}

#[test]
fn one_gap_stands_for_what_was_left_out() {
    let gate = gate(16);
    let mut slow = gate.connect(1, "slow");
    let last = flood(&gate, |seq| vec![delivery(large("world", seq), &[]), to_a_large_group(seq, 1)]);
    let mut seen = Vec::new();
    while ["world", "group_7"].iter().any(|id| heard_up_to(&seen, id) < last) {
        seen.push(slow.next());
    }
    // It is live again.
    gate.down(delivery(message("world", 2, last + 1), &[]));
    gate.down(delivery(message("group_1", 2, 2), &[1]));
    seen.extend(read(&mut slow));
    assert!(whole(&seen, "world", last + 1) >= 1);
    assert!(whole(&seen, "group_7", last) >= 1);
    assert!(seen.iter().all(|frame| frame["type"] != "resync"));
    slow.expect_nothing();
    until("the gaps are counted", || counted(&gate, "gateway_gaps_total") >= 2);
}

#[test]
fn more_gaps_than_are_kept_become_a_resync() {
    let gate = gate(1);
    let mut slow = gate.connect(1, "slow");
    flood(&gate, |seq| vec![delivery(large("world", seq), &[]), to_a_large_group(seq, 1)]);
    assert!(slow.wait_for("resync")["delayMs"].as_u64().is_some_and(|ms| ms <= 10));
    until("it is counted", || counted(&gate, "gateway_gaps_overflown_total") >= 1);
}
