//! Promise: nobody keeps a shard to himself: not a client that floods it, not a thread that floods its mailbox.
//!
//! Method: while the flood goes on, another client's messages must come back, and the flood must not have ended first.

mod rig;

use rig::{Post, config, frame, on_each_driver};
use std::io::{Read, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Round trips of the client that must not starve.
const ROUNDS: usize = 50;

fn round_trips(client: &mut rig::Plain) {
    for round in 0..ROUNDS {
        client.send(&frame(0x81, round.to_string().as_bytes()));
        assert_eq!(client.frame(), (0x81, round.to_string().into_bytes()));
    }
}

#[test]
fn a_flooding_client_leaves_room_for_others() {
    on_each_driver(&config(), |server| {
        let mut quiet = server.join_plain(1, &[]);
        let flooder = server.join_plain(2, &[]);
        let stop = Arc::new(AtomicBool::new(false));
        let mut reader = flooder.stream.try_clone().expect("a descriptor");
        let mut writer = flooder.stream;
        let stopped = Arc::clone(&stop);
        let writing = std::thread::spawn(move || {
            let block = frame(0x81, &[b'f'; 100]).repeat(500);
            while !stopped.load(Ordering::Relaxed) {
                writer.write_all(&block).expect("written");
            }
            writer.shutdown(std::net::Shutdown::Both).expect("shut down");
        });
        let reading = std::thread::spawn(move || {
            let mut buffer = vec![0; 1 << 20];
            while reader.read(&mut buffer).is_ok_and(|count| count > 0) {}
        });
        round_trips(&mut quiet);
        assert!(!writing.is_finished(), "the flood goes on");
        stop.store(true, Ordering::Relaxed);
        writing.join().expect("a writer");
        reading.join().expect("a reader");
    });
}

#[test]
fn a_flooded_mailbox_leaves_room_for_others() {
    on_each_driver(&config(), |server| {
        let mut quiet = server.join_plain(1, &[]);
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, mailboxes) = (Arc::clone(&stop), server.mailboxes());
        let posting = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                // Nobody has this key, so that the mail costs the shard its handling alone.
                let post = Post::ToKey(99, String::new());
                let _ = mailboxes.shard(0).post_wait(post, 1, rig::PATIENCE);
            }
        });
        round_trips(&mut quiet);
        assert!(!posting.is_finished(), "the flood goes on");
        stop.store(true, Ordering::Relaxed);
        posting.join().expect("a poster");
    });
}
