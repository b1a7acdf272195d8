//! The end of a gateway loses nothing that was accepted, and says so.

use gochat_proto::repo::v1::session_change::Kind;

use crate::harness::{Gate, Ws, until};

#[test]
fn clients_are_told_and_sessions_end() {
    let mut gate = Gate::start();
    assert!(gate.readiness.is_ready());
    let clients: Vec<Ws> = (1..=5).map(|user| gate.connect_bound(user, "d")).collect();
    let report = std::thread::scope(|scope| {
        for mut ws in clients {
            scope.spawn(move || assert_eq!(ws.closed(), 1001));
        }
        gate.drain()
    });
    assert!(report.acks_complete && report.sessions_reported, "{report:?}");
    assert!(!gate.readiness.is_ready());
    for user in 1..=5 {
        assert_eq!(gate.fake.sessions_of(user), [Kind::Set, Kind::Delete], "user {user}");
    }
    assert_eq!(report.engine.failed_shards, 0);
}

#[test]
fn a_gateway_says_that_it_drains_and_that_its_parts_work() {
    let mut gate = Gate::with(|config| {
        config.health.interval_ms = 10;
        config.edge.drain_grace_ms = 300;
    });
    let told = |gate: &Gate, condition: &str| {
        let report = gate.readiness.report();
        (report["conditions"][condition]["ready"].clone(), report["conditions"][condition]["reason"].clone())
    };
    until("the parts are looked at", || told(&gate, "gateway-parts").0 == true);
    assert_eq!(told(&gate, "gateway"), (true.into(), serde_json::Value::Null));
    gate.drain();
    assert_eq!(told(&gate, "gateway"), (false.into(), "draining".into()));
    assert_eq!(told(&gate, "gateway-parts").0, true, "what ends on purpose is no fault");
}

#[test]
fn counters_are_shown() {
    let gate = Gate::with(|config| config.stats_interval_ms = 100);
    let mut ws = gate.connect(1, "d");
    ws.send_message("world", "hi", "c1");
    ws.expect("message-ack");
    gate.http("GET", "/nowhere", None, None);
    gate.down(crate::harness::delivery(crate::harness::message("world", 2, 1), &[]));
    ws.expect("new-message");
    let begun = std::time::Instant::now();
    let wanted = [
        "gateway_sends_total 1\n",
        "gateway_acks_accepted_total 1\n",
        "gateway_edge_ws_connections 1\n",
        "gateway_request_errors_total{code=\"route-not-found\"} 1\n",
        "gateway_closes_total{reason=\"token_expired\"} 0\n",
        "gateway_connections{state=\"open\"} 1\n",
        "gateway_connections{state=\"upgrading\"} 0\n",
        "gateway_queue_depth{queue=\"side_data_waiting\"} 0\n",
        "gateway_queue_depth{queue=\"side_data_calls\"} 0\n",
        "gateway_queue_depth{queue=\"side_auth_calls\"} 0\n",
        "gateway_queue_depth{queue=\"presence\"} 0\n",
        "gateway_sends_unfinished 1\n",
        "gateway_accept_seconds_count 1\n",
        "gateway_store_seconds_count 0\n",
        "gateway_delivery_seconds_count 1\n",
        "gateway_panics_total 0\n",
        "gateway_engine_info{name=\"portable-",
    ];
    loop {
        let text = gate.metrics.encode();
        if wanted.iter().all(|line| text.contains(line)) {
            return;
        }
        assert!(begun.elapsed().as_secs() < 20, "{text}");
        std::thread::yield_now();
    }
}
