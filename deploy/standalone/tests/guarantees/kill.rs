//! Promise: `kill -9` at any moment loses nothing that was acknowledged, stores nothing twice, leaves no gap, and all members see one order.
//! Method: a crowd chats in pairs, a group and world at a rate; the process is killed at random moments (fixed seed), each time only after
//! it has acknowledged messages since its start, and restarted on the same folder and ports; clients reconnect and send again what is
//! not final. At the end every member's history is judged by the load suite's checker.
use std::time::Duration;

use crate::harness::Server;
use crate::harness::crowd::{Crowd, judge, wait_for_progress};

const KILLS: usize = 10;
const CROWD: Crowd = Crowd { in_pairs: 10, in_group: 5, in_world: 5, rate_per_s: 300.0, seed: 7 };
/// Acknowledged between a start and the next kill, at least.
const PROGRESS: u64 = 60;

#[test]
fn ten_kills_at_random_moments_lose_nothing() {
    let data = tempfile::tempdir().unwrap();
    let people = CROWD.seed_users(data.path());
    let mut server = Server::start(data.path());
    let load = CROWD.begin(&server, people);

    let mut moments = fastrand::Rng::with_seed(CROWD.seed);
    for _ in 0..KILLS {
        wait_for_progress(&load, PROGRESS);
        std::thread::sleep(Duration::from_millis(moments.u64(0..600)));
        server.kill();
        std::thread::sleep(Duration::from_millis(moments.u64(0..100)));
        server.restart();
    }
    wait_for_progress(&load, PROGRESS);
    judge(load);
}
