//! Goal: who starts the comparison with other servers wrongly, or lacks what a peer needs, is told so in one clear sentence.
//! Method: the scripts themselves, with words and environments that end them before they build anything.

use std::process::{Command, Output};

fn script(name: &str) -> Command {
    let mut command = Command::new(format!("{}/../deploy/bench/{name}", env!("CARGO_MANIFEST_DIR")));
    for variable in ["ROUNDS", "SECONDS_EACH", "PEERS", "FIGURES", "BIN"] {
        command.env_remove(variable);
    }
    command
}

#[track_caller]
fn expect(output: &Output, code: i32, says: &str) {
    let error = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{error}");
    assert!(error.contains(says), "{error}");
}

#[test]
fn bad_settings_are_refused_with_what_may_stand_there() {
    let edge = |name: &str, value: &str| script("edge.sh").env(name, value).output().unwrap();
    expect(&edge("ROUNDS", "five"), 2, "ROUNDS is \"five\", and must be a whole number above 0");
    expect(&edge("ROUNDS", "0"), 2, "ROUNDS is \"0\"");
    expect(&edge("SECONDS_EACH", "-1"), 2, "SECONDS_EACH is \"-1\"");
    expect(&edge("PEERS", "bun nginx"), 2, "PEERS has \"nginx\", and may have bun, gws,");
    expect(&edge("FIGURES", "echo2"), 2, "FIGURES has \"echo2\", and may have idle, echo1,");
    expect(&script("edge.sh").arg("bun").output().unwrap(), 2, "takes no arguments");
}

#[test]
fn a_peer_that_cannot_be_had_is_told_with_the_reason() {
    let build = |words: &[&str]| script("peers/build.sh").args(words).output().unwrap();
    expect(&build(&[]), 2, "usage: build.sh bun|gws|tokio-tungstenite|fastwebsockets");
    expect(&build(&["nginx"]), 2, "no such peer: nginx");
    let nothing = tempfile::tempdir().unwrap();
    for (peer, tool) in
        [("bun", "npm"), ("gws", "go"), ("tokio-tungstenite", "cargo"), ("fastwebsockets", "cargo")]
    {
        let without = script("peers/build.sh").arg(peer).env("PATH", nothing.path()).output().unwrap();
        expect(&without, 1, &format!("{peer}: there is no {tool} on the PATH"));
    }
}
