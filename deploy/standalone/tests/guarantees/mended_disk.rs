//! Promise: a disk that breaks under load makes senders wait and loses nothing that was acknowledged; when it is well again the server
//! serves, without a restart where writes were refused, and after one where an fsync failed, which ends the process with status 74.
//! Method: as in acknowledged_is_kept.rs, but the disk is filled, writes are refused, and fsyncs are made to fail.
use std::path::Path;

use gochat_perf::ChatLoad;

use crate::chaos::{LARGE_GROUPS, PROGRESS, crowd, setting, wait_for_a_moment};
use crate::harness::crowd::{judge, wait_for_progress};
use crate::harness::disk::{FileLimit, SmallDisk};
use crate::harness::{Server, until};

/// Small: only what a fault fills is ever used.
const DISK_MEGABYTES: u32 = 256;

/// What may happen to a disk.
#[derive(Debug, Clone, Copy)]
enum Fault {
    /// No space is left; it comes back.
    Full,
    /// Every write beyond the first bytes of a file fails, for a while.
    Writes,
    /// One fsync of the queue fails: the process must not go on.
    QueueFsync,
    /// One commit of the store can't be synced: the process must not go on.
    StoreFsync,
}

/// All of them, before any comes again.
const FAULTS: [Fault; 4] = [Fault::StoreFsync, Fault::Full, Fault::QueueFsync, Fault::Writes];

#[test]
fn a_broken_disk_loses_nothing_and_a_mended_one_serves() {
    let faults = setting("GOCHAT_CHAOS_DISK_FAULTS", 2) as usize;
    let (crowd, mut rng) = crowd();
    let small = SmallDisk::mount(DISK_MEGABYTES);
    let usual = tempfile::tempdir().unwrap();
    let data = small.as_ref().map_or(usual.path(), SmallDisk::path).join("data");
    let people = crowd.seed_users(&data);
    let mut server = start(&data);
    let load = crowd.begin(&server, people);
    for number in 0..faults {
        let fault = FAULTS[number % FAULTS.len()];
        wait_for_a_moment(&load, &mut rng);
        println!("disk fault {}: {fault:?} after {} acknowledged", number + 1, load.progress().accepted);
        match (fault, &small) {
            (Fault::Full, Some(disk)) => {
                let ballast = disk.fill();
                senders_are_told_to_retry(&load, &mut server);
                drop(ballast);
            }
            (Fault::Full, None) | (Fault::Writes, _) => {
                let limit = FileLimit::set(server.pid(), rng.u64(1..64) << 10);
                senders_are_told_to_retry(&load, &mut server);
                drop(limit);
            }
            (Fault::StoreFsync, _) => {
                fail_an_fsync(&mut server, "GOCHAT__REPO__SQLITE__FAULT_FSYNC_AT", rng.u64(5..60));
            }
            (Fault::QueueFsync, _) => {
                fail_an_fsync(&mut server, "GOCHAT__QUEUE__FAULT_FSYNC_AT", rng.u64(20..200))
            }
        }
        assert!(server.is_alive(), "a disk that is well again needs no restart");
    }
    wait_for_progress(&load, PROGRESS);
    judge(load);
}

fn start(data: &Path) -> Server {
    // Few zeros ahead of the log, so that it notices a full disk at once.
    Server::start_as(data, &[], &[("GOCHAT__QUEUE__PREFILL_BYTES", "65536"), LARGE_GROUPS])
}

fn senders_are_told_to_retry(load: &ChatLoad, server: &mut Server) {
    let before = load.progress().retried;
    until("senders are told to retry", || load.progress().retried >= before + PROGRESS);
    assert!(server.is_alive(), "refused writes are no reason to end");
}

/// Restarts the server with the fault, waits until it has ended itself, and restarts it without.
fn fail_an_fsync(server: &mut Server, variable: &str, number: u64) {
    server.kill();
    server.env.push((variable.to_owned(), number.to_string()));
    server.restart();
    assert_eq!(server.wait().code(), Some(74), "it says that storage failed");
    server.env.pop();
    server.restart();
}
