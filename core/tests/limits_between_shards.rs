//! Promise: a connection for which there is no room on the way home, or at home, is told so with 1013 and counted; who is
//! on that way already comes home.
//!
//! Method: two shards; clients whom the kernel gave to the first one, and whose home is the second.

mod rig;

use gochat_core::{Config, ConnectionRefused, ShardStats, home_of};
use rig::{Plain, Server, config, frame, on_each_driver};

/// A key whose home is the second shard.
fn key() -> u64 {
    (0..).find(|key| home_of(*key, 2) == 1).expect("some key")
}

fn on_the_first(stats: &ShardStats) -> u64 {
    if stats.shard == 0 { stats.http_connections } else { 0 }
}

/// A connection that the first shard accepted.
fn at_the_first(server: &Server) -> Plain {
    loop {
        let (here, accepted) = (server.sum(on_the_first), server.sum(|stats| stats.accepted));
        let client = Plain { stream: server.connect() };
        server.until(|stats| stats.accepted, accepted + 1);
        if server.sum(on_the_first) > here {
            return client;
        }
    }
}

fn upgrade(client: &mut Plain) {
    let head = format!(
        "GET /ws?key={} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n",
        key()
    );
    client.send(head.as_bytes());
    assert!(client.head().starts_with("HTTP/1.1 101 "));
}

#[test]
fn more_sockets_than_may_be_on_their_way_are_refused() {
    on_each_driver(&Config { shards: 2, handoffs_max: 2, ..config() }, |server| {
        let mut clients: Vec<_> = (0..5).map(|_| at_the_first(&server)).collect();
        let release = server.hold(1);
        for client in &mut clients {
            upgrade(client);
        }
        for refused in &mut clients[2..] {
            assert_eq!(refused.close_code(), 1013);
            assert_eq!(refused.rest(), b"");
        }
        drop(release);
        for served in &mut clients[..2] {
            served.send(&frame(0x81, b"home"));
            assert_eq!(served.frame(), (0x81, b"home".to_vec()));
        }
        assert_eq!(server.sum(|stats| stats.refusals.of(ConnectionRefused::HandoffFull)), 3);
        assert_eq!(server.sum(|stats| stats.refusals.sum()), 3);
    });
}

#[test]
fn a_full_home_refuses_who_comes_home() {
    on_each_driver(&Config { shards: 2, connections_per_shard_max: 3, ..config() }, |server| {
        let mut late = at_the_first(&server);
        let mut at_home: Vec<_> = (0..3).map(|_| server.join_plain(key(), &[])).collect();
        server.until(|stats| stats.ws_connections, 3);
        upgrade(&mut late);
        assert_eq!(late.close_code(), 1013);
        assert_eq!(server.sum(|stats| stats.refusals.of(ConnectionRefused::HandoffCap)), 1);
        assert_eq!(server.sum(|stats| stats.handed_refused), 1);
        for client in &mut at_home {
            client.send(&frame(0x81, b"unharmed"));
            assert_eq!(client.frame(), (0x81, b"unharmed".to_vec()));
        }
    });
}
