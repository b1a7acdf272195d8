//! Promise: what is too much is refused at the door, with a counter that tells why.
//!
//! Method: small limits, and one more than each of them.

mod rig;

use gochat_core::{Config, ConnectionRefused, MailRefused, RefusedBy, StartError};
use rig::{Plain, Post, Told, config, frame, on_each_driver};
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::ops::Range;

/// What one is told that there is no room for.
const REFUSED: &str =
    "HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";

#[test]
fn connections_over_the_cap_are_refused() {
    let config = Config { connections_per_shard_max: 3, ..config() };
    on_each_driver(&config, |server| {
        let clients: Vec<_> = (0..3).map(|key| server.join_plain(key, &[])).collect();
        let mut refused = Plain { stream: server.connect() };
        assert_eq!(String::from_utf8(refused.rest()).expect("ascii"), REFUSED);
        assert_eq!(server.sum(|stats| stats.refusals.of(ConnectionRefused::Cap)), 1);
        drop(clients);
        server.until(|stats| stats.ws_connections, 0);
        server.join_plain(9, &[]);
    });
}

#[test]
fn an_address_that_is_listened_on_is_refused() {
    on_each_driver(&config(), |server| {
        let twice = Config { listen: server.address, ..config() };
        assert!(matches!(rig::Server::start(twice), Err(StartError::Listen { .. })));
        server.join_plain(1, &[]);
    });
    let wrong = Config { shards: 0, ..config() };
    assert!(matches!(rig::Server::start(wrong), Err(StartError::Config(error)) if error.field == "shards"));
}

#[test]
fn handshakes_in_flight_are_bounded() {
    let config = Config { http_connections_per_shard_max: 2, ..config() };
    on_each_driver(&config, |server| {
        let waiting: Vec<_> = (0..2).map(|_| server.connect()).collect();
        server.until(|stats| stats.http_connections, 2);
        let mut refused = Plain { stream: server.connect() };
        assert_eq!(String::from_utf8(refused.rest()).expect("ascii"), REFUSED);
        assert_eq!(server.sum(|stats| stats.refusals.of(ConnectionRefused::Handshakes)), 1);
        drop(waiting);
        server.until(|stats| stats.http_connections, 0);
        server.join_plain(9, &[]);
    });
}

#[test]
fn one_address_has_a_share_of_the_handshakes() {
    let config = Config { http_connections_per_ip_max: 2, ..config() };
    on_each_driver(&config, |server| {
        let waiting: Vec<_> = (0..2).map(|_| server.connect()).collect();
        server.until(|stats| stats.http_connections, 2);
        let mut refused = Plain { stream: server.connect() };
        assert_eq!(String::from_utf8(refused.rest()).expect("ascii"), REFUSED);
        assert_eq!(server.sum(|stats| stats.refusals.of(ConnectionRefused::Peer)), 1);
        // Another address has its own share.
        let other = Socket::new(Domain::IPV4, Type::STREAM, None).expect("a socket");
        other.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).expect("loopback is a /8");
        other.connect(&server.address.into()).expect("a connection");
        server.until(|stats| stats.http_connections, 3);
        // What is upgraded or gone counts no more.
        drop(waiting);
        server.until(|stats| stats.http_connections, 1);
        let clients: Vec<_> = (0..4).map(|key| server.join_plain(key, &[])).collect();
        assert_eq!(server.sum(|stats| stats.refusals.of(ConnectionRefused::Peer)), 1);
        drop((other, clients));
    });
}

#[test]
fn a_full_mailbox_refuses_and_reserved_mail_passes() {
    let config = Config { mailbox_max_count: 2, ..config() };
    on_each_driver(&config, |server| {
        let mailboxes = server.mailboxes();
        let mailbox = mailboxes.shard(0);
        let release = server.hold(0);
        mailbox.post(Post::Number(1), 1).expect("room");
        mailbox.post(Post::Number(2), 1).expect("room");
        let refused = mailbox.post(Post::Number(3), 1).expect_err("full");
        assert_eq!(refused.refused_by, RefusedBy::Full);
        mailbox.post_reserved(Post::Number(4));
        drop(release);
        for number in [1, 2, 4] {
            assert_eq!(server.told(), Told::Mail(number));
        }
        assert_eq!(server.sum(|stats| stats.mails_refused.of(MailRefused::Count)), 1);
        drop(server);
        let refused = mailbox.post(Post::Number(5), 1).expect_err("ended");
        assert_eq!(refused.refused_by, RefusedBy::Closed);
    });
}

#[test]
fn a_mailbox_is_bounded_in_bytes() {
    on_each_driver(&Config { mailbox_max_bytes: 100, ..config() }, |server| {
        let mailboxes = server.mailboxes();
        let mailbox = mailboxes.shard(0);
        let release = server.hold(0);
        mailbox.post(Post::Number(1), 60).expect("room");
        let refused = mailbox.post(Post::Number(2), 41).expect_err("full");
        assert_eq!(refused.refused_by, RefusedBy::Full);
        mailbox.post(Post::Number(3), 40).expect("room");
        drop(release);
        // There is room again, and one mail alone may be of any size.
        mailbox.post_wait(Post::Number(4), 1_000, rig::PATIENCE).expect("room");
        for number in [1, 3, 4] {
            assert_eq!(server.told(), Told::Mail(number));
        }
        assert_eq!(server.sum(|stats| stats.mails_refused.of(MailRefused::Bytes)), 1);
        assert_eq!(server.sum(|stats| stats.mails_refused.sum()), 1);
    });
}

#[test]
fn who_is_refused_is_told_when_to_come_again() {
    let config = Config { connections_per_shard_max: 1, refused_retry_after_s: 7, ..config() };
    on_each_driver(&config, |server| {
        let client = server.join_plain(1, &[]);
        let mut refused = Plain { stream: server.connect() };
        assert!(refused.head().contains("retry-after: 7\r\n"));
        drop(client);
    });
}

#[test]
fn buffers_that_nobody_needs_are_kept_within_bounds_or_freed() {
    let check = |free_buffers_max, free_buffer_max_bytes, expect: Range<u64>| {
        let config = Config { free_buffers_max, free_buffer_max_bytes, ..config() };
        on_each_driver(&config, |server| {
            let whole = frame(0x81, &[b'x'; 30_000]);
            let mut clients: Vec<_> = (0..3).map(|_| server.join_plain(1, &whole[..20_000])).collect();
            server.until(|stats| stats.input_bytes, 60_000);
            for client in &mut clients {
                client.send(&whole[20_000..]);
                assert_eq!(client.frame().1.len(), 30_000);
            }
            let free = server.sum(|stats| stats.free_bytes);
            assert!(expect.contains(&free), "{free} kept of {free_buffers_max}");
        });
    };
    // Three of 30,000 bytes or more were used; the queue of an outbox is kept too, and takes little.
    check(256, 64 * 1024, 90_000..300_000);
    check(1, 64 * 1024, 30_000..90_000);
    check(256, 1_000, 0..20_000);
    check(0, 64 * 1024, 0..1);
}

#[test]
fn little_input_does_not_hold_a_large_buffer() {
    on_each_driver(&config(), |server| {
        let (whole, hello) = (frame(0x81, &[b'x'; 40_000]), frame(0x81, b"hello"));
        let mut little = server.join_plain(2, &[]);
        let mut large = server.join_plain(1, &[]);
        let mut leave_a_large_one = || {
            large.send(&whole[..30_000]);
            server.until(|stats| stats.input_bytes, 30_000);
            large.send(&whole[30_000..]);
            assert_eq!(large.frame().1.len(), 40_000);
            let free = server.sum(|stats| stats.free_bytes);
            assert!(free >= 40_000, "{free} in the free list");
        };
        // The budgets count what is kept. What comes back from a little use shows how much was held.
        let freed = || {
            let free = server.sum(|stats| stats.free_bytes);
            assert!(free < 20_000, "{free} held for a few bytes");
        };
        leave_a_large_one();
        little.send(&hello[..4]);
        server.until(|stats| stats.input_bytes, 4);
        little.send(&hello[4..]);
        assert_eq!(little.frame().1, b"hello");
        freed();
        leave_a_large_one();
        let mut request = Plain { stream: server.connect() };
        request.send(b"GET /no");
        server.until(|stats| stats.input_bytes, 7);
        request.send(b"ne HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(request.head().starts_with("HTTP/1.1 404 "));
        server.until(|stats| stats.input_bytes, 0);
        freed();
    });
}
