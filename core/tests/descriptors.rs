//! Promise: running out of descriptors makes accepting pause, not fail or spin; and an engine that has ended leaves no
//! descriptor behind.
//!
//! Method: the process takes all the descriptors that it may have. One test, because it needs them all to itself.

mod rig;

use rig::{config, on_each_driver};
use std::fs::File;

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("procfs").count()
}

#[test]
fn descriptors_run_out_come_back_and_are_all_returned() {
    let config = gochat_core::Config { accept_backoff_ms: 20, ..config() };
    on_each_driver(&config, |server| {
        let mut hoard: Vec<File> = std::iter::from_fn(|| File::open("/dev/null").ok()).collect();
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
