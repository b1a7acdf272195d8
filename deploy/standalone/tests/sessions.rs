//! Promise: many idle sessions and a chat among them live together in one process, and a shell's low descriptor limit is no obstacle.
//! Method: 1,500 sessions under a soft limit of 1,024 descriptors; everybody sends; the load suite's checker judges. The size for
//! figures is in deploy/bench (5,000 and more).
mod harness;

use std::process::Command;
use std::time::Duration;

use gochat_perf::checker::check;
use gochat_perf::{ChatLoad, LoadConfig, Target, users};
use harness::Server;
use rustix::process::{Resource, getrlimit, setrlimit};

const SESSIONS: usize = 1_500;

#[test]
fn fifteen_hundred_sessions_chat_among_each_other() {
    // The clients need descriptors too.
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).expect("the soft limit may rise to the hard one");
    let work = tempfile::tempdir().unwrap();
    let data = work.path().join("data");
    let list = work.path().join("users.jsonl");
    let seeded = Command::new(env!("CARGO_BIN_EXE_gochat"))
        .args(["seed", "--users", &SESSIONS.to_string(), "--out"])
        .arg(&list)
        .arg("--data")
        .arg(&data)
        .status()
        .expect("gochat seed runs");
    assert!(seeded.success());
    let people = users::read_users_file(&list, SESSIONS).expect("the file is as documented");
    assert_eq!(people.len(), SESSIONS);

    let server = Server::start(&data);
    let mut config = LoadConfig::new(Target::parse(&server.url("")).unwrap(), people);
    config.rate_per_s = 500.0;
    let load = ChatLoad::start(config).expect("the load starts");
    load.wait_ready(Duration::from_secs(120)).expect("everybody connects");
    load.begin();
    while load.progress().stored < 2_000 {
        assert!(load.progress().ready > 0, "{}", load.trouble());
        std::thread::sleep(Duration::from_millis(20));
    }
    let outcome = load.stop(Duration::from_secs(120));
    let verdict = check(&outcome.history);
    assert!(verdict.holds(), "{verdict:?}");
    assert!(outcome.is_complete(), "unfinished {}, unread {}", outcome.unfinished, outcome.unread);
}
