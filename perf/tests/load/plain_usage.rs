//! Goal: the scenarios of plain servers refuse parameters that make no load, and say why a server can't be measured.

use std::process::Command;

use crate::stub::{self, Fault};

#[test]
fn parameters_that_make_no_load_are_refused() {
    for (words, why) in [
        ("echo --connections 0", "between 1 and 1000000 connections"),
        ("echo --depth 0", "--depth"),
        ("echo --threads 0", "--threads"),
        ("echo --checked-every 0", "--checked-every"),
        ("echo --message-bytes 23", "at least 24"),
        ("echo --depth 64 --message-bytes 20000", "1 MiB"),
        ("echo --rate=-1", "--rate"),
        ("echo --seconds 0", "--seconds"),
        ("echo --warm-seconds=-1", "--warm-seconds"),
        ("echo --path ws", "--path"),
        ("handshakes --concurrent 0", "between 1 and 1000000 connections"),
        ("handshakes --message-bytes 16385", "at most 16384"),
        ("handshakes --message-bytes 1", "at least 24"),
        ("handshakes --visit-max-seconds 0", "--visit-max-seconds"),
        ("handshakes --close slam", "slam"),
        ("handshakes --rate inf", "--rate"),
        ("idle --connections 0", "between 1 and 1000000 connections"),
        ("idle --threads 0", "--threads"),
        ("idle --seconds=-1", "--seconds"),
        ("idle --connect-rate=-1", "--connect-rate"),
        ("broadcast --receivers 0", "--receivers"),
        ("broadcast --in-flight 0", "--in-flight"),
        ("broadcast --in-flight 100000", "1 MiB"),
        ("broadcast --connect-rate 0", "--connect-rate"),
    ] {
        let words: Vec<&str> = words.split(' ').collect();
        let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf")).args(&words).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{words:?}: {said}");
        assert!(said.contains(why), "{words:?}: {said}");
    }
}

#[test]
fn a_server_that_grants_no_upgrade_is_told_of() {
    for scenario in ["echo", "handshakes", "broadcast", "idle"] {
        let ran = stub::run(scenario, Fault::Refuse, |_, _| false, &["--seconds", "0.3"]);
        assert_eq!(ran.code, Some(3), "{scenario}: {}", ran.text);
        assert!(ran.text.contains("upgrade answered with 503"), "{scenario}: {}", ran.text);
    }
}
