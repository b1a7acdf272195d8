//! Promise: `kill -9` at any moment loses nothing that was acknowledged, stores nothing twice, leaves no gap, and all members see one order.
//! Method: pairs chat at a rate; the process is killed at random moments (fixed seed) and restarted on the same folder and ports;
//! clients reconnect and send again what is not final. At the end every member's history is judged by the load suite's checker.
use std::time::Duration;

use gochat_perf::checker::check;
use gochat_perf::{ChatLoad, LoadConfig, Target, users};

use crate::harness::Server;

const KILLS: usize = 10;
const USERS: usize = 20;
const RATE_PER_S: f64 = 300.0;
const SEED: u64 = 7;

#[test]
fn ten_kills_at_random_moments_lose_nothing() {
    let data = tempfile::tempdir().unwrap();
    let mut server = Server::start(data.path());
    let target = Target::parse(&server.url("")).unwrap();
    let people = users::register(&target, USERS, "kill", |_| {}).expect("users register");
    let mut config = LoadConfig::new(target, people);
    config.rate_per_s = RATE_PER_S;
    config.seed = SEED;
    // Back soon after a kill, so that the next one meets traffic.
    config.rules.backoff_max_ms = 500;
    config.rules.resend_after_ms = 3_000;
    let load = ChatLoad::start(config).expect("the load starts");
    load.wait_ready(Duration::from_secs(60)).expect("everybody connects");
    load.begin();

    let mut moments = fastrand::Rng::with_seed(SEED);
    for _ in 0..KILLS {
        std::thread::sleep(Duration::from_millis(moments.u64(150..1_200)));
        server.kill();
        std::thread::sleep(Duration::from_millis(moments.u64(0..100)));
        server.restart();
    }
    let outcome = load.stop(Duration::from_secs(120));
    let verdict = check(&outcome.history);
    assert!(verdict.holds(), "{verdict:?}");
    assert!(outcome.is_complete(), "unfinished {}, unread {}", outcome.unfinished, outcome.unread);
    assert!(outcome.progress.stored > 0, "nothing was stored: {:?}", outcome.progress);
}
