//! Promise: a connection for which droppable frames were dropped is told of once, as soon as it has room again, and what
//! the app says then comes behind all that was kept.
//!
//! Method: a client that stops reading, a flood of what may be dropped, and then a client that reads on.

mod rig;

use gochat_core::{Config, Priority};
use rig::{Post, Server, Told, config, frame, on_each_driver};
use std::sync::mpsc::channel;

const BLOCK: usize = 32 * 1024;

/// Sends droppable blocks to all until some were dropped; how many were kept.
fn flood(server: &Server) -> u64 {
    let mut sent = 0;
    while server.sum(|stats| stats.frames_dropped.sum()) < 20 {
        let post = Post::ToAll("x".repeat(BLOCK), Priority::Droppable);
        server.mailboxes().shard(0).post_wait(post, BLOCK, rig::PATIENCE).expect("room");
        sent += 1;
        server.until(|stats| stats.mails, sent);
    }
    sent - server.sum(|stats| stats.frames_dropped.sum())
}

#[test]
fn many_drops_of_a_turn_are_told_of_once() {
    let config = Config { outbox_connection_max_bytes: 4_096, ..config() };
    on_each_driver(&config, |server| {
        let mut client = server.join_plain(7, &[]);
        assert_eq!(server.told(), Told::Open { shard: 0, key: 7 });
        for _ in 0..2 {
            let (release, released) = channel();
            let mailbox = server.mailboxes().shard(0).clone();
            mailbox.post(Post::Hold(released), 1).expect("room");
            for _ in 0..10 {
                mailbox.post(Post::ToAll("x".repeat(1_000), Priority::Droppable), 1).expect("room");
            }
            drop(release);
            assert_eq!(server.told(), Told::Room { key: 7 });
            for _ in 0..4 {
                assert_eq!(client.frame().1.len(), 1_000);
            }
            assert_eq!(client.frame(), (0x81, b"gap".to_vec()));
            client.send(&frame(0x81, b"timer 1"));
            assert_eq!(server.told(), Told::Timer(1));
        }
        assert_eq!(server.sum(|stats| stats.frames_dropped.sum()), 12);
    });
}

#[test]
fn a_reader_that_goes_on_learns_of_what_it_missed() {
    on_each_driver(&config(), |server| {
        let mut slow = server.join_plain(7, &[]);
        assert_eq!(server.told(), Told::Open { shard: 0, key: 7 });
        let kept = flood(&server);
        // The kernel's buffers may have made room in between, so that a gap came then too.
        let mut blocks = 0;
        let mut last_is_gap = false;
        while blocks < kept || !last_is_gap {
            last_is_gap = slow.frame().1 == b"gap";
            blocks += u64::from(!last_is_gap);
        }
        assert_eq!(blocks, kept);
        slow.send(&frame(0x81, b"still here"));
        assert_eq!(slow.frame(), (0x81, b"still here".to_vec()));
    });
}

#[test]
fn a_frame_that_can_never_fit_is_told_of_in_the_same_turn() {
    let config = Config { outbox_connection_max_bytes: 4_096, ..config() };
    on_each_driver(&config, |server| {
        let mut client = server.join_plain(7, &[]);
        assert_eq!(server.told(), Told::Open { shard: 0, key: 7 });
        for _ in 0..2 {
            let post = Post::ToAll("x".repeat(BLOCK), Priority::Droppable);
            server.mailboxes().shard(0).post(post, BLOCK).expect("room");
            assert_eq!(server.told(), Told::Room { key: 7 });
            assert_eq!(client.frame(), (0x81, b"gap".to_vec()));
        }
        assert_eq!(server.sum(|stats| stats.frames_dropped.sum()), 2);
    });
}

#[test]
fn who_missed_nothing_or_is_gone_is_not_told_of() {
    on_each_driver(&config(), |server| {
        let slow = server.join_plain(7, &[]);
        assert_eq!(server.told(), Told::Open { shard: 0, key: 7 });
        flood(&server);
        drop(slow);
        server.closed();
        let mut quick = server.join_plain(8, &frame(0x81, b"timer 1"));
        assert_eq!(server.told(), Told::Open { shard: 0, key: 8 });
        assert_eq!(server.told(), Told::Timer(1));
        quick.send(&frame(0x81, b"fine"));
        assert_eq!(quick.frame(), (0x81, b"fine".to_vec()));
    });
}
