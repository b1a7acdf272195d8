//! Promise: `kill -9` at any moment loses nothing that was acknowledged, stores nothing twice, leaves no gap, and all members see one order.
//! Method: a crowd chats in pairs, groups and world at a rate; the process is killed at random moments (from the seed), each time only
//! after it has acknowledged and stored messages since its start, and restarted on the same folder and ports; clients reconnect
//! and send again what is not final. At the end every member's history is judged by the load suite's checker.
//! chaos.rs says how to have more of it.
use std::time::Duration;

use crate::chaos::{LARGE_GROUPS, PROGRESS, crowd, setting, wait_for_a_moment};
use crate::harness::Server;
use crate::harness::crowd::{judge, wait_for_progress};

#[test]
fn kills_at_random_moments_lose_nothing() {
    let kills = setting("GOCHAT_CHAOS_KILLS", 10);
    let (crowd, mut rng) = crowd();
    let data = tempfile::tempdir().unwrap();
    let people = crowd.seed_users(data.path());
    let mut server = Server::start_as(data.path(), &[], &[LARGE_GROUPS]);
    let load = crowd.begin(&server, people);
    for kill in 1..=kills {
        wait_for_a_moment(&load, &mut rng);
        println!("kill {kill} after {} acknowledged", load.progress().accepted);
        server.kill();
        std::thread::sleep(Duration::from_millis(rng.u64(0..100)));
        server.restart();
    }
    wait_for_progress(&load, PROGRESS);
    judge(load);
}
