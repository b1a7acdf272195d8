//! Promise: a client that does not read is closed with 1013 (or loses only what may be dropped), and no other client
//! notices.
//!
//! Method: one client stops reading while a flood goes to all; the other reads everything.

mod rig;

use gochat_core::{CloseReason, Config, FrameDropped, HttpEnd, Priority};
use rig::{Plain, Post, config, frame, on_each_driver};

const BLOCK: usize = 32 * 1024;

/// Far more than the kernel buffers of a connection and the outbox take.
const BLOCKS: u64 = 600;

#[test]
fn the_slow_one_is_closed_and_the_other_gets_everything() {
    on_each_driver(&config(), |server| {
        let mut slow = server.join_plain(1, &[]);
        let mut quick = server.join_plain(2, &[]);
        server.until(|stats| stats.ws_connections, 2);
        for number in 0..BLOCKS {
            let block = format!("{number:08}{}", "x".repeat(BLOCK));
            server.mailboxes().shard(0).post(Post::ToAll(block, Priority::Keep), BLOCK).expect("room");
            let (first, payload) = quick.frame();
            assert_eq!((first, &payload[..8]), (0x81, format!("{number:08}").as_bytes()));
        }
        server.until(|stats| stats.ws_closing, 1);
        // What the kernel holds comes first, without a hole, then the close frame.
        for number in 0.. {
            let (first, payload) = slow.frame();
            if first == 0x88 {
                assert_eq!(payload[..2], 1013u16.to_be_bytes());
                assert!(number < BLOCKS, "nothing was refused");
                break;
            }
            assert_eq!(&payload[..8], format!("{number:08}").as_bytes());
        }
        slow.send(&frame(0x88, &1013u16.to_be_bytes()));
        assert_eq!(server.closed(), CloseReason::SlowReader);
        server.until(|stats| stats.outbox_bytes, 0);
        quick.send(&frame(0x81, b"still fine"));
        assert_eq!(quick.frame(), (0x81, b"still fine".to_vec()));
    });
}

#[test]
fn what_may_be_dropped_is_dropped_and_counted() {
    on_each_driver(&config(), |server| {
        let mut slow = server.join_plain(1, &[]);
        server.until(|stats| stats.ws_connections, 1);
        for _ in 0..BLOCKS {
            let post = Post::ToAll("x".repeat(BLOCK), Priority::Droppable);
            server.mailboxes().shard(0).post_wait(post, BLOCK, rig::PATIENCE).expect("room");
        }
        server.until(|stats| stats.mails, BLOCKS);
        let dropped = server.sum(|stats| stats.frames_dropped.of(FrameDropped::Outbox));
        assert!(dropped > 0 && dropped < BLOCKS, "{dropped} dropped");
        // Between them comes what the app says when there is room again.
        let mut next = || loop {
            let (_, payload) = slow.frame();
            if payload != b"gap" {
                return payload;
            }
        };
        for _ in dropped..BLOCKS {
            assert_eq!(next().len(), BLOCK);
        }
        slow.send(&frame(0x81, b"still here"));
        while slow.frame().1 != b"still here" {}
    });
}

#[test]
fn the_budget_of_a_shard_is_for_those_who_are_stuck() {
    let mut config = config();
    (config.outbox_connection_max_bytes, config.outbox_shard_max_bytes) = (1 << 20, 1 << 20);
    on_each_driver(&config, |server| {
        let stuck = [server.join_plain(1, &[]), server.join_plain(1, &[])];
        let mut quick: Vec<_> = (0..40).map(|_| server.join_plain(2, &[])).collect();
        server.until(|stats| stats.ws_connections, 42);
        while server.sum(|stats| stats.ws_closing) == 0 {
            let post = Post::ToKey(1, "x".repeat(BLOCK));
            server.mailboxes().shard(0).post_wait(post, BLOCK, rig::PATIENCE).expect("room");
        }
        // In one turn that is more than the budget for all the others together.
        server.mailboxes().shard(0).post(Post::ToKey(2, "x".repeat(BLOCK)), BLOCK).expect("room");
        for client in &mut quick {
            assert_eq!(client.frame().1.len(), BLOCK);
        }
        assert_eq!(server.sum(|stats| stats.ws_closing), 1);
        drop(stuck);
        server.until(|stats| stats.closes.of(CloseReason::ShardOutbox), 1);
        server.until(|stats| stats.outbox_bytes, 0);
    });
}

#[test]
fn a_write_that_stays_blocked_ends_the_connection() {
    let config = Config { write_deadline_ms: 30, outbox_connection_max_bytes: 64 << 20, ..config() };
    on_each_driver(&config, |server| {
        let stuck = server.join_plain(1, &[]);
        server.until(|stats| stats.ws_connections, 1);
        for _ in 0..BLOCKS {
            let post = Post::ToAll("x".repeat(BLOCK), Priority::Keep);
            server.mailboxes().shard(0).post_wait(post, BLOCK, rig::PATIENCE).expect("room");
        }
        assert_eq!(server.closed(), CloseReason::WriteDeadline);
        server.until(|stats| stats.outbox_bytes, 0);
        drop(stuck);
    });
}

#[test]
fn a_ping_flood_of_one_who_does_not_read_takes_no_memory() {
    let config =
        Config { outbox_connection_max_bytes: 4_096, control_frames_per_second_max: 1 << 30, ..config() };
    on_each_driver(&config, |server| {
        let mut client = server.join_plain(1, &[]);
        let pings = frame(0x89, &[b'p'; 125]).repeat(100);
        while server.sum(|stats| stats.frames_dropped.of(FrameDropped::Control)) == 0 {
            client.send(&pings);
        }
        assert!(server.sum(|stats| stats.outbox_bytes) <= 4_096);
        assert_eq!(server.sum(|stats| stats.ws_closing), 0);
    });
}

#[test]
fn droppable_frames_are_dropped_for_the_budget_of_the_shard_too() {
    let mut config = config();
    (config.outbox_connection_max_bytes, config.outbox_shard_max_bytes) = (1 << 20, 1 << 20);
    on_each_driver(&config, |server| {
        let stuck = [1, 1].map(|key| server.join_over(server.connect_narrow(), key, &[]));
        server.until(|stats| stats.ws_connections, 2);
        while server.sum(|stats| stats.frames_dropped.of(FrameDropped::ShardOutbox)) == 0 {
            let post = Post::DroppableToKey(1, "x".repeat(BLOCK));
            server.mailboxes().shard(0).post_wait(post, BLOCK, rig::PATIENCE).expect("room");
        }
        assert_eq!(server.sum(|stats| stats.frames_dropped.of(FrameDropped::Outbox) + stats.ws_closing), 0);
        drop(stuck);
    });
}

#[test]
fn an_answer_that_nobody_takes_has_a_deadline() {
    on_each_driver(&Config { write_deadline_ms: 50, ..config() }, |server| {
        let mut stuck = Plain { stream: server.connect_narrow() };
        stuck.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        server.until(|stats| stats.http_ends.of(HttpEnd::WriteDeadline), 1);
        server.until(|stats| stats.http_connections + stats.blocked_bytes, 0);
    });
}
