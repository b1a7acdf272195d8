//! Promise: behind a trusted proxy each client is known and counted by its own address, and who is no trusted proxy is
//! taken at no word about that.
//!
//! Method: the tests' own address is a proxy or is none, and says in `X-Forwarded-For` for whom it speaks. The table of
//! what such lines may say is that of the pure code in core/src/proxies.rs.

mod rig;

use gochat_core::{Config, ConnectionRefused, RequestRefused, Response};
use rig::{Plain, Post, Server, Told, config, frame, on_each_driver};

fn behind(proxies: &[&str]) -> Config {
    let trusted_proxies = proxies.iter().map(|one| one.parse().expect("a network")).collect();
    Config { trusted_proxies, http_connections_per_ip_max: 2, ..config() }
}

fn ask(client: &mut Plain, path: &str, forwarded: &str) {
    client.send(format!("GET {path} HTTP/1.1\r\nHost: a\r\n{forwarded}\r\n").as_bytes());
}

fn open(server: &Server) -> Plain {
    Plain { stream: server.connect() }
}

/// Leaves a request for somebody unanswered.
fn pending(server: &Server, ip: &str) -> (Plain, gochat_core::RequestId) {
    let mut client = open(server);
    ask(&mut client, "/pending", &format!("X-Forwarded-For: {ip}\r\n"));
    let Told::Pending(id) = server.told() else { panic!("a request") };
    (client, id)
}

/// Who the app is told asks.
fn seen(server: &Server, forwarded: &str) -> String {
    let mut client = open(server);
    client
        .send(format!("GET /client HTTP/1.1\r\nHost: a\r\nConnection: close\r\n{forwarded}\r\n").as_bytes());
    let answer = String::from_utf8(client.rest()).expect("ascii");
    answer.split("\r\n\r\n").nth(1).expect("a body").to_owned()
}

/// The status of a request for somebody.
fn status(server: &Server, ip: &str) -> String {
    let mut client = open(server);
    ask(&mut client, "/client", &format!("X-Forwarded-For: {ip}\r\n"));
    let head = client.head();
    assert!(!head.contains(" 503 ") || head.contains("retry-after: 1\r\n"), "{head}");
    head[9..12].to_owned()
}

#[test]
fn the_app_is_told_the_client_by_a_trusted_proxy_alone() {
    on_each_driver(&behind(&["127.0.0.0/8", "10.0.0.0/8"]), |server| {
        assert_eq!(seen(&server, "X-Forwarded-For: 198.51.100.1, 203.0.113.7\r\n"), "203.0.113.7");
        assert_eq!(
            seen(&server, "x-forwarded-for: 203.0.113.7\r\nX-Forwarded-For: 10.0.0.2\r\n"),
            "203.0.113.7"
        );
        assert_eq!(seen(&server, "X-Forwarded-For: nonsense\r\n"), "127.0.0.1");
        assert_eq!(seen(&server, ""), "127.0.0.1");
    });
    for nobody in [&[][..], &["127.0.0.2", "10.0.0.0/8"]] {
        on_each_driver(&behind(nobody), |server| {
            assert_eq!(seen(&server, "X-Forwarded-For: 203.0.113.7\r\n"), "127.0.0.1");
        });
    }
}

#[test]
fn a_proxy_has_as_many_connections_as_it_likes_and_its_clients_have_their_share() {
    on_each_driver(&behind(&["127.0.0.1"]), |server| {
        let idle: Vec<_> = (0..10).map(|_| server.connect()).collect();
        server.until(|stats| stats.http_connections, 10);
        let (mut first, id) = pending(&server, "203.0.113.7");
        let second = pending(&server, "spoofed, 203.0.113.7");
        assert_eq!(status(&server, "203.0.113.7"), "503");
        assert_eq!(server.sum(|stats| stats.requests_refused.of(RequestRefused::Client)), 1);
        assert_eq!(status(&server, "203.0.113.8"), "200");
        // One host of IPv6 has a whole /64.
        let hosts = [pending(&server, "2001:db8::1"), pending(&server, "[2001:db8::ffff]:443")];
        assert_eq!(status(&server, "2001:db8::2"), "503");
        assert_eq!(status(&server, "2001:db8:0:1::2"), "200");
        // The proxy's own requests count for nobody.
        let own: Vec<_> = (0..4).map(|_| pending(&server, "127.0.0.1")).collect();
        // Room comes with the end of an answer, and the connection may then speak for another.
        server.mailboxes().shard(id.shard()).post(Post::Answer(id, Response::new(204)), 1).expect("room");
        assert!(first.head().starts_with("HTTP/1.1 204 "));
        ask(&mut first, "/client", "X-Forwarded-For: 203.0.113.9\r\n");
        assert!(first.head().starts_with("HTTP/1.1 200 "));
        assert_eq!(status(&server, "203.0.113.7"), "200");
        assert_eq!(server.sum(|stats| stats.refusals.of(ConnectionRefused::Peer)), 0);
        drop((idle, second, hosts, own));
    });
}

#[test]
fn a_body_that_comes_slowly_through_a_proxy_counts_for_its_client() {
    on_each_driver(&behind(&["127.0.0.1"]), |server| {
        let part =
            b"POST /echo HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.7\r\nContent-Length: 2\r\n\r\n1";
        let mut slow: Vec<_> = (0..2)
            .map(|n| {
                let mut client = open(&server);
                client.send(part);
                server.until(|stats| stats.input_bytes, (n + 1) * part.len() as u64);
                client
            })
            .collect();
        assert_eq!(status(&server, "203.0.113.7"), "503");
        slow[0].send(b"2");
        assert!(slow[0].head().starts_with("HTTP/1.1 200 "));
        drop(slow.pop());
        server.until(|stats| stats.input_bytes, 0);
        assert_eq!(status(&server, "203.0.113.7"), "200");
    });
}

#[test]
fn upgraded_connections_behind_a_proxy_count_no_more() {
    on_each_driver(&behind(&["127.0.0.1"]), |server| {
        let mut clients: Vec<_> = (0..5)
            .map(|key| {
                let mut client = open(&server);
                let upgrade = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n\
                               Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nX-Forwarded-For: 203.0.113.7\r\n";
                ask(&mut client, &format!("/ws?key={key}"), upgrade);
                assert!(client.head().starts_with("HTTP/1.1 101 "));
                client
            })
            .collect();
        for client in &mut clients {
            client.send(&frame(0x81, b"hello"));
            assert_eq!(client.frame(), (0x81, b"hello".to_vec()));
        }
        assert_eq!(server.sum(|stats| stats.requests_refused.sum()), 0);
    });
}
