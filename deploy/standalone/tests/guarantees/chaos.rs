//! How much is broken under the crowd's load, and when: the parameters that `make test` and `make chaos` share.
//!
//! `GOCHAT_CHAOS_KILLS` (10), `GOCHAT_CHAOS_DISK_FAULTS` (2) and `GOCHAT_CHAOS_SEED` (7); `make chaos` is the long run.
use std::time::Duration;

use gochat_perf::ChatLoad;

use crate::harness::crowd::{Crowd, wait_for_progress};

/// Acknowledged and stored between two blows, at least.
pub(crate) const PROGRESS: u64 = 60;

/// The larger one of the crowd's groups goes the way of large groups, through task.
pub(crate) const LARGE_GROUPS: (&str, &str) = ("GOCHAT__LOGIC__ROUTES__FAN_OUT_MEMBERS_MIN", "5");

/// A parameter of the run, from the environment or as `make test` has it.
pub(crate) fn setting(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name} must be a number, it is {text:?}")),
        Err(_) => default,
    }
}

/// Who chats, and the moments and sizes of all blows.
pub(crate) fn crowd() -> (Crowd, fastrand::Rng) {
    let seed = setting("GOCHAT_CHAOS_SEED", 7);
    println!("seed {seed}");
    let crowd =
        Crowd { in_pairs: 10, in_groups: &[4, 7], in_world: 5, rate_per_s: 300.0, open_max: 1_000, seed };
    (crowd, fastrand::Rng::with_seed(seed))
}

/// Under load, and at no moment that the server could know.
pub(crate) fn wait_for_a_moment(load: &ChatLoad, rng: &mut fastrand::Rng) {
    wait_for_progress(load, PROGRESS);
    std::thread::sleep(Duration::from_millis(rng.u64(0..600)));
}
