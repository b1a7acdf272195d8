//! A user may have so many sockets. One more is always let in, and takes the place of the one that was silent longest.

use serde_json::Value;

use crate::harness::{Gate, Ws, until};

const PUT_OUT: u16 = 4429;

fn gate() -> Gate {
    Gate::with(|config| {
        config.auth.connections_per_user_max = 2;
        config.stats_interval_ms = 100;
    })
}

/// The server's time of an answer that was asked for now.
fn ping(ws: &mut Ws) -> u64 {
    ws.send(r#"{"type":"ping"}"#);
    let pong: Value = ws.next();
    assert_eq!(pong["type"], "pong", "{pong}");
    pong["timestamp"].as_u64().expect("a time")
}

#[test]
fn one_more_is_let_in_and_the_oldest_goes() {
    let gate = gate();
    let (mut first, mut second) = (gate.connect(1, "a"), gate.connect(1, "b"));
    let mut stranger = gate.connect(2, "a");
    let mut third = gate.connect(1, "c");
    assert_eq!(first.closed(), PUT_OUT);
    for ws in [&mut second, &mut stranger, &mut third] {
        ws.expect_nothing();
    }
    let line = "gateway_closes_total{reason=\"too_many_connections\"} 1\n";
    until(line, || gate.metrics.encode().contains(line));
}

#[test]
fn who_was_heard_of_lately_stays() {
    let gate = gate();
    let mut first = gate.connect(1, "a");
    let mut second = gate.connect(1, "b");
    let connected = ping(&mut second);
    until("some time has passed", || ping(&mut first) > connected + 20);
    // The shard's clock stands still in a turn: this one is of a later turn.
    ping(&mut first);
    let mut third = gate.connect(1, "c");
    assert_eq!(second.closed(), PUT_OUT);
    first.expect_nothing();
    third.expect_nothing();
}

#[test]
fn a_device_takes_its_own_old_place() {
    let gate = gate();
    let (mut elsewhere, mut old) = (gate.connect(1, "laptop"), gate.connect(1, "phone"));
    let mut new = gate.connect(1, "phone");
    assert_eq!(old.closed(), PUT_OUT);
    elsewhere.expect_nothing();
    new.expect_nothing();
}

#[test]
fn a_place_is_free_when_its_socket_has_gone() {
    let gate = gate();
    let mut first = gate.connect(1, "a");
    for device in ["b", "c", "d"] {
        gate.connect(1, device).close();
    }
    first.expect_nothing();
}
