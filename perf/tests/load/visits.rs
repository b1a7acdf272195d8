//! Goal: connections that come and go are counted right, and a server that does one of their steps wrong is found out.
//! Method: a stub that does so on every tenth connection, or on the third alone.

use serde_json::Value;

use crate::stub::{self, Fault, broken};

#[track_caller]
fn run(fault: Fault, more: &[&str], code: i32) -> Value {
    let words = [&["--concurrent", "5", "--seconds", "0.5", "--settle-seconds", "2"], more].concat();
    stub::report("handshakes", fault, |connection, _| connection.is_multiple_of(10), &words, code)
}

#[test]
fn who_comes_hears_his_message_and_goes() {
    for close in ["handshake", "reset"] {
        let report = run(Fault::None, &["--close", close], 0);
        let result = &report["result"];
        assert_eq!((&result["begun"], &result["failed"]), (&result["done"], &0.into()), "{close}");
        assert!(result["done"].as_u64() > Some(20), "{result}");
        assert_eq!((&result["handshake_us"], &report["main_latency"]), (&Value::Null, &Value::Null));
        let figures = &report["figures"];
        assert!(figures["rate"]["value"].as_f64() > Some(0.0), "{figures}");
        assert!(
            figures["server_cpu_us_per_op"]["value"].is_number(),
            "the stub is found by its port: {figures}"
        );
    }
}

#[test]
fn the_open_loop_begins_as_many_as_are_due() {
    let report = run(Fault::None, &["--rate", "100", "--close", "reset", "--message-bytes", "4000"], 0);
    assert_eq!((&report["result"]["begun"], &report["result"]["done"]), (&50.into(), &50.into()));
    assert_eq!(report["latencies"]["handshake"]["count"], 50);
    assert_eq!(report["figures"]["p99"], report["figures"]["handshake.p99"]);
}

#[test]
fn a_stall_counts_for_all_that_became_due_behind_it() {
    let words = ["--concurrent", "1", "--rate", "100", "--seconds", "2"];
    let report = stub::report("handshakes", Fault::Stall, |connection, _| connection == 3, &words, 0);
    // One at a time: the first half of what became due in that second, a quarter of all, waited half a second or more.
    assert_eq!(report["latencies"]["handshake"]["count"], 200);
    let p90 = report["figures"]["p90"]["value"].as_f64();
    assert!(p90 >= Some(500_000.0), "{}", report["latencies"]["handshake"]);
}

#[test]
fn broken_steps_are_found() {
    let found = |fault, what: &str| {
        let report = run(fault, &["--visit-max-seconds", "0.3"], 1);
        assert!(broken(&report).contains(what), "{fault:?}: {}", report["verdict"]);
        assert!(report["result"]["failed"].as_u64() > Some(0) && report["result"]["done"].as_u64() > Some(0));
    };
    found(Fault::Drop, "ms for the reply");
    found(Fault::Double, "visits failed; the last: ");
    found(Fault::Change, "the reply is not what was said");
    found(Fault::HangUp, "closed the connection before the reply");
}

#[test]
fn a_close_frame_without_answer_is_found() {
    let words = ["--concurrent", "5", "--seconds", "0.5"];
    let ran = stub::run("handshakes", Fault::NoClose, |_, _| false, &words);
    assert_eq!(ran.code, Some(3), "{}", ran.text);
    assert!(ran.text.contains("closed the connection before a close frame"), "{}", ran.text);
    stub::report(
        "handshakes",
        Fault::NoClose,
        |_, _| false,
        &[&words[..], &["--close", "reset"]].concat(),
        0,
    );
}
