//! Goal: what an echo server says back is counted right, and one that drops, doubles, swaps or changes messages is found out.
//! Method: a stub that does one of these at every tenth message of a connection.

use serde_json::Value;

use crate::stub::{self, Fault, broken};

#[track_caller]
fn run(fault: Fault, more: &[&str], code: i32) -> Value {
    let words = [&["--connections", "6"], more].concat();
    stub::report("echo", fault, |_, message| message.is_multiple_of(10), &words, code)
}

/// All connections looked at by content, or all but the first only counted.
const CHECKED: [&str; 6] = ["--rate", "600", "--depth", "8", "--checked-every", "1"];
const COUNTED: [&str; 6] = ["--rate", "600", "--depth", "8", "--checked-every", "1000"];

#[test]
fn every_message_comes_back_in_the_open_loop() {
    for how in [CHECKED, COUNTED] {
        for size in ["24", "128", "70000"] {
            let report =
                run(Fault::None, &[&how[..], &["--seconds", "0.5", "--message-bytes", size]].concat(), 0);
            assert_eq!(
                (&report["result"]["sent"], &report["result"]["answered"]),
                (&300.into(), &300.into())
            );
            assert_eq!(report["latencies"]["echo"]["count"], 300);
            assert_eq!(report["figures"]["p99"], report["figures"]["echo.p99"]);
        }
    }
}

#[test]
fn a_closed_loop_tells_its_rate_and_no_latency() {
    for depth in ["1", "16"] {
        let report = run(Fault::None, &["--seconds", "0.5", "--depth", depth, "--checked-every", "3"], 0);
        let result = &report["result"];
        assert_eq!(result["sent"], result["answered"]);
        assert!(result["answered"].as_u64() > Some(60), "{result}");
        assert_eq!((&result["echo_us"], &report["main_latency"]), (&Value::Null, &Value::Null));
        assert!(report["figures"]["client_cpu_us_per_op"]["value"].is_number());
    }
}

#[test]
fn the_warm_up_is_not_measured() {
    let words = ["--rate", "500", "--depth", "8", "--warm-seconds", "0.5", "--seconds", "0.5"];
    let report = run(Fault::None, &words, 0);
    assert_eq!((&report["result"]["sent"], &report["result"]["answered"]), (&500.into(), &500.into()));
    // Due in the half second behind it.
    assert_eq!(report["latencies"]["echo"]["count"], 250);
}

#[test]
fn broken_echoes_are_found() {
    let found = |fault, how: &[&str], what: &str| {
        let report = run(fault, &[how, &["--seconds", "0.5", "--settle-seconds", "1"]].concat(), 1);
        assert!(report["verdict"][what].as_u64() > Some(0), "{fault:?} {how:?}: {}", report["verdict"]);
    };
    found(Fault::Drop, &CHECKED, "lost");
    found(Fault::Drop, &COUNTED, "lost");
    found(Fault::Double, &CHECKED, "doubled");
    found(Fault::Double, &COUNTED, "doubled");
    found(Fault::Swap, &CHECKED, "out_of_order");
    found(Fault::Change, &CHECKED, "phantom");
    found(Fault::HangUp, &COUNTED, "lost");
    // In a closed loop one reply too many passes for the next one's, until the end.
    found(Fault::Double, &["--checked-every", "1000"], "doubled");
}

#[test]
fn other_contents_are_found_on_counted_connections_too() {
    let words = [&COUNTED[..], &["--seconds", "0.5", "--settle-seconds", "1"]].concat();
    let report = run(Fault::Change, &words, 1);
    assert!(broken(&report).contains("have other contents"), "{report}");
}

#[test]
fn who_answers_no_ping_is_found() {
    let report = run(Fault::Mute, &["--seconds", "0.2", "--settle-seconds", "1"], 1);
    assert!(broken(&report).contains("6 connections that ended"), "{report}");
}

#[test]
fn a_stall_counts_for_every_message_that_had_to_wait_behind_it() {
    let words = [&["--connections", "6"], &CHECKED[..], &["--seconds", "2"]].concat();
    let report = stub::report("echo", Fault::Stall, |_, message| message == 10, &words, 0);
    // Each connection stalls for one second of two: what became due in the first half of it waits half a second or more, a
    // quarter of all. A tool that waits with the server would have seen one slow message on each connection, 6 of 1,200.
    assert_eq!(report["latencies"]["echo"]["count"], 1200);
    assert!(report["figures"]["p90"]["value"].as_f64() >= Some(500_000.0), "{}", report["latencies"]["echo"]);
}
