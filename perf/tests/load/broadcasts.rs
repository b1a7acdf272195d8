//! Goal: what one says to all is counted at all, and a server that drops, doubles, swaps or changes one's copies is found out.
//! Method: a stub that does one of these to the last receiver, at every tenth message.

use serde_json::Value;

use crate::stub::{self, Fault, broken};

#[track_caller]
fn run(fault: Fault, more: &[&str], code: i32) -> Value {
    let words =
        [&["--receivers", "5", "--in-flight", "3", "--seconds", "0.5", "--settle-seconds", "1"], more]
            .concat();
    stub::report("broadcast", fault, |_, message| message.is_multiple_of(10), &words, code)
}

/// All connections looked at by content, or all but the sender's only counted.
const CHECKED: [&str; 2] = ["--checked-every", "1"];
const COUNTED: [&str; 2] = ["--checked-every", "1000"];

#[test]
fn everybody_gets_everything() {
    for (how, checked) in [(CHECKED, 6), (COUNTED, 1)] {
        let report = run(Fault::None, &how, 0);
        let result = &report["result"];
        assert_eq!(result["delivered"].as_u64(), result["sent"].as_u64().map(|sent| sent * 6), "{result}");
        assert!(result["sent"].as_u64() > Some(10), "{result}");
        assert_eq!(result["checked"], checked);
        let figures = &report["figures"];
        assert!(figures["rate"]["value"].as_f64() > Some(0.0), "{figures}");
        assert!(
            figures["server_cpu_us_per_op"]["value"].is_number(),
            "the stub is found by its port: {figures}"
        );
    }
}

#[test]
fn broken_broadcasts_are_found() {
    let found = |fault, how: [&str; 2], what: &str| {
        let report = run(fault, &how, 1);
        assert!(report["verdict"][what].as_u64() > Some(0), "{fault:?} {how:?}: {}", report["verdict"]);
    };
    found(Fault::Drop, CHECKED, "lost");
    found(Fault::Drop, COUNTED, "lost");
    found(Fault::Double, CHECKED, "doubled");
    found(Fault::Double, COUNTED, "doubled");
    found(Fault::Swap, CHECKED, "out_of_order");
    // Not what the others have there.
    found(Fault::Change, CHECKED, "out_of_order");
    found(Fault::HangUp, COUNTED, "lost");
    assert!(broken(&run(Fault::HangUp, &COUNTED, 1)).contains("1 connections that ended"));
}
