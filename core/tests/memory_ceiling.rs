//! Promise: a shard's memory has a ceiling. On the way there it sheds in the order that the configuration states, and each
//! step ends when there is room again.
//!
//! Method: the shard is filled to each step by clients that do not read, and looked at there: what is shed, what is not
//! yet, and that a client who reads loses nothing.

mod rig;

use gochat_core::{CloseReason, Config, ConnectionRefused, FrameDropped, HttpEnd};
use rig::{Plain, Post, Server, config, frame, on_each_driver};
use std::time::Instant;

const MIB: u64 = 1 << 20;
const CEILING: u64 = 8 * MIB;
const BLOCK: usize = 64 * 1024;

fn small() -> Config {
    Config {
        memory_shard_max_bytes: CEILING as usize,
        outbox_connection_max_bytes: 2 * CEILING as usize,
        frame_max_bytes: MIB as usize,
        message_max_bytes: MIB as usize,
        free_buffer_max_bytes: 2 * MIB as usize,
        write_deadline_ms: 3_600_000,
        message_deadline_ms: 3_600_000,
        ping_interval_ms: 3_600_000,
        ..config()
    }
}

fn post(server: &Server, post: Post) {
    let before = server.sum(|stats| stats.mails);
    server.mailboxes().shard(0).post(post, 1).expect("room");
    server.until(|stats| stats.mails, before + 1);
}

/// Sends to a client that does not read until `percent` of the ceiling are live.
fn fill(server: &Server, key: u64, percent: u64) {
    let end = Instant::now() + rig::PATIENCE;
    // What the kernel takes is nobody's in the shard, and it may take some more a moment later.
    while server.sum(|stats| stats.memory_bytes) < CEILING * percent / 100 {
        assert!(Instant::now() < end, "the shard does not fill: {:?}", server.engine.stats());
        post(server, Post::ToKey(key, "x".repeat(BLOCK)));
    }
}

fn is_refused(server: &Server) -> bool {
    let mut client = Plain { stream: server.connect() };
    client.send(b"GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    let head = client.head();
    let refused = head.starts_with("HTTP/1.1 503 ") && head.contains("retry-after: 1\r\n");
    assert!(refused || head.starts_with("HTTP/1.1 404 "), "{head}");
    refused
}

#[test]
fn each_step_sheds_its_own_and_ends_when_there_is_room() {
    on_each_driver(&small(), |server| {
        let mut stuck = server.join_over(server.connect_narrow(), 1, &[]);
        let stuck_more = server.join_over(server.connect_narrow(), 2, &[]);
        let mut quick = server.join_plain(3, &[]);
        server.until(|stats| stats.ws_connections, 3);

        // Incomplete messages, then whole ones: their buffers go to the free list.
        let long = frame(0x81, &[b'x'; 1_000_000]);
        let mut clients: Vec<_> = (0..2).map(|_| server.join_plain(4, &long[..900_000])).collect();
        server.until(|stats| stats.input_bytes, 2 * 900_000);
        for client in &mut clients {
            client.send(&long[900_000..]);
            assert_eq!(client.frame().1.len(), 1_000_000);
        }
        let free = server.sum(|stats| stats.free_bytes);
        assert!(free >= 2 * 900_000, "{free} in the free lists");

        fill(&server, 1, 72);
        server.until(|stats| stats.shed_free_lists, 1);
        server.until(|stats| stats.free_bytes, 0);
        assert_eq!(server.sum(|stats| stats.frames_dropped.of(FrameDropped::Memory)), 0);

        fill(&server, 2, 83);
        post(&server, Post::DroppableToKey(1, "lost".into()));
        assert_eq!(server.sum(|stats| stats.frames_dropped.of(FrameDropped::Memory)), 1);
        // Only blocked connections lose anything, and nobody is refused yet.
        post(&server, Post::DroppableToKey(3, "droppable".into()));
        assert_eq!(quick.frame(), (0x81, b"droppable".to_vec()));
        assert!(!is_refused(&server));

        fill(&server, 2, 92);
        assert!(is_refused(&server));
        assert_eq!(server.sum(|stats| stats.refusals.of(ConnectionRefused::Memory)), 1);
        quick.send(&frame(0x81, b"unharmed"));
        assert_eq!(quick.frame(), (0x81, b"unharmed".to_vec()));
        assert_eq!(server.sum(|stats| stats.ws_closing), 0);

        // The first client has the most; it is closed, and that is enough.
        post(&server, Post::ToKey(1, "x".repeat(4 * MIB as usize)));
        server.until(|stats| stats.ws_closing, 1);
        while stuck.frame().0 != 0x88 {}
        stuck.send(&frame(0x88, &1013u16.to_be_bytes()));
        assert_eq!(server.closed(), CloseReason::Memory);
        let after = server.sum(|stats| stats.memory_bytes);
        assert!(after < CEILING * 7 / 10, "{after} bytes are live");
        assert!(!is_refused(&server));
        quick.send(&frame(0x81, b"still unharmed"));
        assert_eq!(quick.frame(), (0x81, b"still unharmed".to_vec()));
        drop((stuck_more, clients));
        server.until(|stats| stats.blocked_bytes + stats.input_bytes, 0);
    });
}

#[test]
fn a_connection_that_comes_home_is_refused_as_a_new_one_is() {
    let config = Config { shards: 2, ..small() };
    on_each_driver(&config, |server| {
        let key_of = |shard| (0..).find(|key| gochat_core::home_of(*key, 2) == shard).expect("some key");
        let stuck = server.join_over(server.connect_narrow(), key_of(0), &[]);
        server.until(|stats| stats.ws_connections, 1);
        let blocked = |stats: &gochat_core::ShardStats| if stats.shard == 0 { stats.memory_bytes } else { 0 };
        while server.sum(blocked) < CEILING * 94 / 100 {
            let before = server.sum(|stats| stats.mails);
            server.mailboxes().shard(0).post(Post::ToKey(key_of(0), "x".repeat(BLOCK)), 1).expect("room");
            server.until(|stats| stats.mails, before + 1);
        }
        // Whichever shard accepts: the full one refuses at the door, the other one hands over.
        while server.sum(|stats| stats.handed_over) == 0 {
            let mut client = Plain { stream: server.connect() };
            let key = key_of(0);
            client.send(
                format!(
                    "GET /ws?key={key} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                     Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
                )
                .as_bytes(),
            );
            if client.head().starts_with("HTTP/1.1 101 ") {
                assert_eq!(client.close_code(), 1013);
                assert!(server.sum(|stats| stats.refusals.of(ConnectionRefused::HandoffMemory)) > 0);
            }
        }
        drop(stuck);
    });
}

#[test]
fn an_answer_that_nobody_takes_is_given_up_as_an_outbox_is() {
    let config = Config { memory_shard_max_bytes: 2 * MIB as usize, ..small() };
    on_each_driver(&config, |server| {
        let mut stuck = Plain { stream: server.connect_narrow() };
        stuck.send(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n");
        server.until(|stats| stats.http_ends.of(HttpEnd::Memory), 1);
        server.until(|stats| stats.http_connections + stats.blocked_bytes, 0);
        assert!(!is_refused(&server));
    });
}
