//! Promise: many idle sessions and a chat among them live together in one process, and a shell's low descriptor limit is no obstacle.
//! When all are cut in one moment, all come back and miss nothing, and nobody is refused without being told when to come again.
//! Method: 1,500 sessions under a soft limit of 1,024 descriptors; everybody sends; every connection is reset and reconnects as the
//! protocol asks; the load suite's checker judges. The size for figures is `gochat-perf hold` and `storm` with 15,000.
mod harness;

use std::process::Command;
use std::time::{Duration, Instant};

use gochat_perf::checker::check;
use gochat_perf::{ChatLoad, LoadConfig, Progress, Target, users};
use harness::Server;
use rustix::process::{Resource, getrlimit, setrlimit};

const SESSIONS: usize = 1_500;

#[test]
fn fifteen_hundred_sessions_chat_among_each_other_and_survive_a_storm() {
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
    until(&load, |now| now.stored >= 2_000);
    load.cut_all();
    until(&load, |now| now.synced == SESSIONS as u64);
    let after = load.progress();
    assert_eq!((after.cut, after.back), (SESSIONS as u64, SESSIONS as u64), "{}", load.trouble());
    assert_eq!(after.refused_without_retry_after, 0, "{}", load.trouble());
    until(&load, |now| now.stored >= after.stored + 500);
    let outcome = load.stop(Duration::from_secs(120));
    let verdict = check(&outcome.history);
    assert!(verdict.holds(), "{verdict:?}");
    assert!(outcome.is_complete(), "unfinished {}, unread {}", outcome.unfinished, outcome.unread);
}

fn until(load: &ChatLoad, reached: impl Fn(&Progress) -> bool) {
    let began = Instant::now();
    while !reached(&load.progress()) {
        assert!(began.elapsed() < Duration::from_secs(120), "{:?} {}", load.progress(), load.trouble());
        std::thread::sleep(Duration::from_millis(20));
    }
}
