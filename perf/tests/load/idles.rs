//! Goal: connections are held in two counts, and one that ends or does not answer is told of.

use crate::stub::{self, Fault, broken};

const WORDS: [&str; 6] = ["--connections", "7", "--seconds", "0.2", "--settle-seconds", "1"];

#[test]
fn connections_are_held_and_answer_to_the_end() {
    let report = stub::report("idle", Fault::None, |_, _| false, &WORDS, 0);
    let result = &report["result"];
    assert_eq!((&result["connections"], &result["disconnects"]), (&7.into(), &0.into()));
    assert!(result["rss_bytes_all"].as_u64() > Some(0), "the stub is found by its port: {result}");
    // Seven are too few for a slope.
    assert!(result["rss_bytes_per_connection"].is_null(), "{result}");
    assert!(report["figures"]["held_cpu"]["value"].is_number(), "{report}");
}

#[test]
fn who_is_not_there_any_more_at_the_end_is_told_of() {
    let report = stub::report("idle", Fault::Mute, |_, _| false, &WORDS, 1);
    assert!(broken(&report).contains("7 connections that ended"), "{report}");
}
