//! Promise: running out of descriptors makes accepting pause, not fail or spin; and an engine that has ended leaves no
//! descriptor behind.
//!
//! Method: a child process whose limit is low takes all the descriptors that it may have.

mod rig;

use rig::{config, on_each_driver};
use std::fs::File;
use std::process::Command;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

/// Set in the child.
const CHILD: &str = "GOCHAT_CORE_DESCRIPTORS_CHILD";

#[test]
fn descriptors_run_out_come_back_and_are_all_returned() {
    if std::env::var_os(CHILD).is_some() {
        return run_out();
    }
    let own = std::env::current_exe().expect("the test's own binary");
    let child = Command::new("sh")
        .args(["-c", "ulimit -n 300 && exec \"$0\" --exact --nocapture \"$1\""])
        .arg(own)
        .arg("descriptors_run_out_come_back_and_are_all_returned")
        .env(CHILD, "1")
        .output()
        .expect("a shell");
    let (said, errors) = (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
    assert!(child.status.success() && said.contains("1 passed"), "{said}{errors}");
}

fn run_out() {
    let config = gochat_core::Config { accept_backoff_ms: 20, ..config() };
    on_each_driver(&config, |server| {
        let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
        assert!(hoard.len() < 300, "the limit is not lowered");
        // One for the client's end; none is left for the server's.
        hoard.pop();
        let waiting = server.connect();
        while server.sum(|stats| stats.accept_backoffs) == 0 {
            std::thread::yield_now();
        }
        drop(hoard);
        server.until(|stats| stats.accepted, 1);
        drop(waiting);
        server.join_plain(1, &[]);
    });
    let before = open_descriptors();
    on_each_driver(&config, |server| {
        let clients: Vec<_> = (0..20).map(|key| server.join_plain(key, &[])).collect();
        let waiting: Vec<_> = (0..5).map(|_| server.connect()).collect();
        server.until(|stats| stats.ws_connections + stats.http_connections, 25);
        drop(server);
        drop((clients, waiting));
    });
    assert_eq!(open_descriptors(), before);
}
