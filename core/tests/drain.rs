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
    let config = Config { shards: 3, close_deadline_ms: 100, ..config() };
    on_each_driver(&config, |server| {
        let mut polite: Vec<_> = (0..20).map(|key| server.join(key)).collect();
        let mut rude = server.join_plain(100, &[]);
        server.until(|stats| stats.ws_connections, 21);
        server.engine.drain();
        for client in &mut polite {
            assert_eq!(close_code(client), 1001);
            assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
        }
        assert_eq!(rude.close_code(), 1001);
        let Server { engine, address, .. } = server;
        let report = engine.join();
        assert_eq!((report.clean, report.forced, report.failed_shards), (20, 1, 0));
        assert_eq!(report.stats.len(), 3);
        assert_eq!(report.stats.iter().map(|one| one.closed_by(CloseReason::Drain)).sum::<u64>(), 21);
        assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
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
        assert_eq!(client.rest(), b"");
    });
}
