//! Promise: a panic in the app costs what the callback was called for - one connection, one mail or one timer -, is counted,
//! and leaves nothing behind.
//!
//! Method: an app that panics when told to, in each callback, and a client that watches.

mod rig;

use gochat_core::{CloseReason, Config, Priority};
use rig::{Plain, Post, Server, Told, config, frame, on_each_driver};
use std::sync::mpsc::channel;

/// Runs a test on each driver amid a bystander who must be unharmed, and checks what was counted.
fn amid_a_bystander(config: &Config, panics: u64, test: impl Fn(&Server)) {
    on_each_driver(config, |server| {
        let mut bystander = server.join_plain(1, &[]);
        assert_eq!(server.told(), Told::Open { shard: 0, key: 1 });
        test(&server);
        bystander.send(&frame(0x81, b"unharmed"));
        while bystander.frame() != (0x81, b"unharmed".to_vec()) {}
        server.until(|stats| stats.ws_connections + stats.http_connections, 1);
        assert_eq!(server.sum(|stats| stats.keys), 1);
        assert_eq!(server.sum(|stats| stats.panics), panics);
        assert_eq!(server.sum(|stats| stats.input_bytes + stats.ws_closing), 0);
    });
}

fn is_closed_with_1011(server: &Server, mut victim: Plain) {
    assert_eq!(victim.close_code(), 1011);
    victim.send(&frame(0x88, &1011u16.to_be_bytes()));
    assert_eq!(victim.rest(), b"");
    assert_eq!(server.closed(), CloseReason::Panic);
}

#[test]
fn in_a_request_it_costs_the_request_and_its_connection() {
    amid_a_bystander(&config(), 1, |server| {
        let mut client = Plain { stream: server.connect() };
        client.send(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\nGET /none HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = String::from_utf8(client.rest()).expect("ascii");
        assert!(answer.starts_with("HTTP/1.1 500 ") && answer.contains("connection: close"), "{answer}");
        assert!(!answer.contains("404"), "{answer}");
    });
}

#[test]
fn in_an_opening_or_a_message_it_costs_the_connection() {
    amid_a_bystander(&config(), 2, |server| {
        is_closed_with_1011(server, server.join_plain(rig::OPEN_PANICS, &frame(0x81, b"not answered")));
        let behind = [frame(0x81, b"answered"), frame(0x81, b"panic"), frame(0x81, b"not answered")].concat();
        let mut victim = server.join_plain(2, &behind);
        assert_eq!(victim.frame(), (0x81, b"answered".to_vec()));
        assert_eq!(victim.frame().0, 0x88);
        victim.send(&frame(0x88, &1011u16.to_be_bytes()));
        assert_eq!(victim.rest(), b"");
        assert_eq!(server.closed(), CloseReason::Panic);
    });
}

#[test]
fn in_a_word_of_room_it_costs_the_connection() {
    let config = Config { outbox_connection_max_bytes: 4_096, ..config() };
    amid_a_bystander(&config, 1, |server| {
        let victim = server.join_plain(rig::ROOM_PANICS, &[]);
        assert_eq!(server.told(), Told::Open { shard: 0, key: rig::ROOM_PANICS });
        let post = Post::ToAll("x".repeat(5_000), Priority::Droppable);
        server.mailboxes().shard(0).post(post, 1).expect("room");
        // The bystander misses the frame too.
        assert_eq!(server.told(), Told::Room { key: 1 });
        is_closed_with_1011(server, victim);
    });
}

#[test]
fn in_an_end_it_costs_nothing_more() {
    amid_a_bystander(&config(), 1, |server| {
        let ends = [2, rig::CLOSE_PANICS, 3].map(|key| server.join_plain(key, &[]));
        server.until(|stats| stats.ws_connections, 4);
        // All in one turn: those behind the panic are told of as well.
        let (release, released) = channel();
        server.mailboxes().shard(0).post(Post::Hold(released), 1).expect("room");
        drop(ends);
        drop(release);
        assert_eq!([server.closed(), server.closed()], [CloseReason::HungUp; 2]);
        server.until(|stats| stats.closes.of(CloseReason::HungUp), 3);
    });
}

#[test]
fn in_a_mail_or_a_timer_it_costs_that_one() {
    amid_a_bystander(&config(), 2, |server| {
        server.mailboxes().shard(0).post(Post::Panic, 1).expect("room");
        server.mailboxes().shard(0).post(Post::Number(7), 1).expect("room");
        assert_eq!(server.told(), Told::Mail(7));
        let timers =
            [frame(0x81, format!("timer {}", rig::TIMER_PANICS).as_bytes()), frame(0x81, b"timer 12")];
        let client = server.join_plain(2, &timers.concat());
        assert_eq!(server.told(), Told::Open { shard: 0, key: 2 });
        assert_eq!(server.told(), Told::Timer(12));
        server.until(|stats| stats.timers, 2);
        assert_eq!(server.sum(|stats| stats.timers_set), 0);
        drop(client);
    });
}
