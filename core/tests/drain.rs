//! Promise: a draining engine lets requests in flight finish, closes every client with 1001, ends, and counts who
//! went cleanly and who had to be forced.
//!
//! Method: clients that answer the close frame and one that does not; a request left pending.

mod rig;

use gochat_core::{CloseReason, Config, Response};
use rig::{Plain, Post, Server, Told, close_code, config, frame, on_each_driver};
use std::io::Write;

#[test]
fn clients_get_1001_and_are_counted() {
    let config = Config { shards: 3, close_deadline_ms: 14_000, ..config() };
    on_each_driver(&config, |server| {
        let mut polite: Vec<_> = (0..20).map(|key| server.join(key)).collect();
        server.until(|stats| stats.ws_connections, 20);
        server.engine.drain();
        for client in &mut polite {
            assert_eq!(close_code(client), 1001);
            assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
        }
        let Server { engine, address, .. } = server;
        let report = engine.join();
        assert_eq!((report.clean, report.forced, report.failed_shards), (20, 0, 0));
        assert_eq!(report.stats.len(), 3);
        assert_eq!(report.stats.iter().map(|one| one.closes.of(CloseReason::Drain)).sum::<u64>(), 20);
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
    });
}

#[test]
fn who_does_not_answer_is_counted_as_forced() {
    on_each_driver(&Config { close_deadline_ms: 50, ..config() }, |server| {
        let mut rude = server.join_plain(1, &[]);
        server.engine.drain();
        assert_eq!(rude.close_code(), 1001);
        let report = server.engine.join();
        assert_eq!((report.clean, report.forced, report.failed_shards), (0, 1, 0));
    });
}

#[test]
fn a_request_in_flight_is_answered() {
    on_each_driver(&config(), |server| {
        let mut idle = Plain { stream: server.connect() };
        idle.send(b"GET /echo HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(idle.head().starts_with("HTTP/1.1 200 "));
        let mut client = Plain { stream: server.connect() };
        client.stream.write_all(b"GET /pending HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
        let Told::Pending(id) = server.told() else { panic!("a request") };
        server.engine.drain();
        assert_eq!(idle.rest(), b"", "an idle connection is closed");
        server.mailboxes().shard(id.shard()).post(Post::Answer(id, Response::new(200)), 1).expect("room");
        let head = client.head();
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("connection: close"), "{head}");
        assert_eq!(client.rest(), b"");
        drop(client);
        let report = server.engine.join();
        assert_eq!((report.clean, report.forced, report.failed_shards), (0, 0, 0));
    });
}

#[test]
fn who_comes_during_the_grace_is_served() {
    let config = Config { shards: 2, drain_grace_ms: 1_500, ..config() };
    on_each_driver(&config, |server| {
        server.engine.drain();
        // What the shards are told is handled in order, so that after an answer they have heard of the drain.
        assert_eq!(server.engine.stats().len(), 2);
        let mut late: Vec<_> = (0..10).map(|key| server.join_plain(key, &frame(0x81, b"hello"))).collect();
        for client in &mut late {
            assert_eq!(client.frame(), (0x81, b"hello".to_vec()));
            assert_eq!(client.close_code(), 1001);
            client.send(&frame(0x88, &1001u16.to_be_bytes()));
            assert_eq!(client.rest(), b"");
        }
        let report = server.engine.join();
        assert_eq!((report.clean, report.forced, report.failed_shards), (10, 0, 0));
    });
}

#[test]
fn the_deadline_ends_what_does_not_end() {
    let config = Config { drain_deadline_ms: 150, close_deadline_ms: 60_000, ..config() };
    on_each_driver(&config, |server| {
        let rude = server.join_plain(1, &[]);
        let half = server.join_plain(2, &frame(0x81, b"half")[..5]);
        let mut pending = server.connect();
        pending.write_all(b"GET /pending HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
        server.until(|stats| stats.requests, 3);
        server.engine.drain();
        let report = server.engine.join();
        assert_eq!((report.clean, report.forced, report.failed_shards), (0, 2, 0));
        drop((rude, half, pending));
    });
}

#[test]
fn dropping_an_engine_ends_it_at_once() {
    on_each_driver(&Config { shards: 2, ..config() }, |server| {
        let mut client = server.join_plain(1, &[]);
        drop(server);
        ends_without_a_word(&mut client);
    });
}

/// Or it was still on its way: a shard that has ended takes nobody in, and its sender says so.
fn ends_without_a_word(client: &mut Plain) {
    let last = client.rest();
    assert!(last.is_empty() || last.starts_with(b"\x88\x09\x03\xf5"), "{last:x?}");
}

#[test]
fn an_engine_can_end_while_sockets_are_handed_over() {
    let config = Config { shards: 4, ..config() };
    for _ in 0..20 {
        on_each_driver(&config, |server| {
            let mut clients: Vec<_> = (0..8).map(|key| server.join_plain(key, &[])).collect();
            drop(server);
            for client in &mut clients {
                ends_without_a_word(client);
            }
        });
    }
}
