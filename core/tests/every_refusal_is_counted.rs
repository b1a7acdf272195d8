//! Promise: whatever is refused, dropped or closed is counted once, and the counter's label says exactly why.
//!
//! Method: tables of what a client may do wrongly, each row on a connection of its own. All counters with reasons are
//! taken before and after: the one of the row has risen by one, and no other has moved.

mod rig;

use gochat_core::{Config, ShardStats};
use rig::{Plain, Server, config, frame, on_each_driver};
use std::collections::BTreeMap;
use std::io::Write;
use std::net::Shutdown;

fn narrow() -> Config {
    Config {
        head_max_bytes: 1_024,
        target_max_bytes: 100,
        headers_max: 4,
        body_max_bytes: 1_000,
        frame_max_bytes: 1_000,
        message_max_bytes: 1_500,
        fragments_per_message_max: 4,
        control_frames_per_second_max: 20,
        ..config()
    }
}

/// What has risen, as `family{reason}`.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counted(BTreeMap<String, u64>);

impl Counted {
    fn now(server: &Server) -> Counted {
        let mut counted = Counted::default();
        for family in server.engine.stats().iter().flat_map(ShardStats::families) {
            for (reason, count) in family.counts {
                *counted.0.entry(format!("{}{{{reason}}}", family.name)).or_default() += count;
            }
        }
        counted
    }

    fn since(self, before: &Counted) -> Vec<(String, u64)> {
        let risen = self.0.into_iter().map(|(name, count)| (count - before.0[&name], name));
        risen.filter(|(by, _)| *by > 0).map(|(by, name)| (name, by)).collect()
    }
}

/// Lets one client do its worst, and sees it counted.
fn check(server: &Server, expect: &str, worst: impl FnOnce(&Server)) {
    let before = Counted::now(server);
    worst(server);
    server.until(|stats| stats.http_connections + stats.ws_connections, 0);
    assert_eq!(Counted::now(server).since(&before), [(expect.to_owned(), 1)]);
}

/// A request that is refused with an answer.
fn refused(server: &Server, expect: &str, request: &str) {
    check(server, &format!("requests_refused{{{expect}}}"), |server| {
        let mut client = Plain { stream: server.connect() };
        client.send(request.as_bytes());
        client.stream.shutdown(Shutdown::Write).expect("shut down");
        let answer = client.rest();
        assert!(answer.starts_with(b"HTTP/1.1 "), "{request:?}: {}", answer.escape_ascii());
    });
}

#[test]
fn each_wrong_request_has_its_reason() {
    on_each_driver(&narrow(), |server| {
        let long = "x".repeat(900);
        let post = |headers: &str| format!("POST /echo HTTP/1.1\r\nHost: a\r\n{headers}\r\n\r\n");
        let rows = [
            ("line_end", "GET / HTTP/1.1\nHost: a\n\n".to_owned()),
            ("line_end", "GET / HTTP/1.1\rX: y\r\nHost: a\r\n\r\n".to_owned()),
            ("request_line", "GET\r\nHost: a\r\n\r\n".to_owned()),
            ("request_line", "G@T / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
            ("target", "GET a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned()),
            ("version", "GET / HTTP/2.0\r\nHost: a\r\n\r\n".to_owned()),
            ("header", post("X y: z")),
            ("header", post("X: a\0b")),
            ("host", "GET / HTTP/1.1\r\nX: y\r\n\r\n".to_owned()),
            ("host", post("Host: b")),
            ("content_length", post("Content-Length: -1")),
            ("content_length", post("Content-Length: 1\r\nContent-Length: 2")),
            ("both_lengths", post("Content-Length: 3\r\nTransfer-Encoding: chunked")),
            ("length_required", post("Transfer-Encoding: chunked")),
            ("expectation", post("Content-Length: 1\r\nExpect: more")),
            ("target_too_long", format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(100))),
            ("target_too_long", format!("GET /{long}")),
            ("head_too_large", post(&format!("X: {long}{long}"))),
            ("too_many_headers", post("A: 1\r\nB: 2\r\nC: 3\r\nD: 4")),
            ("body_too_large", post("Content-Length: 1001")),
        ];
        for (expect, request) in &rows {
            refused(&server, expect, request);
        }
    });
}

#[test]
fn each_wrong_upgrade_has_its_reason() {
    let good = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    on_each_driver(&Config { headers_max: 8, ..narrow() }, |server| {
        let rows = [
            ("not_websocket", "Upgrade: websocket", "Upgrade: h2c"),
            ("upgrade_method", "GET", "PUT"),
            ("upgrade_method", "HTTP/1.1", "HTTP/1.0"),
            ("upgrade_version", "Version: 13", "Version: 8"),
            ("upgrade_version", "Sec-WebSocket-Version: 13", "X: y"),
            ("upgrade_key", "dGhlIHNhbXBsZSBub25jZQ==", "dGhl"),
        ];
        for (expect, from, to) in rows {
            refused(&server, expect, &good.replace(from, to));
        }
    });
}

#[test]
fn each_breach_on_a_websocket_has_its_reason() {
    on_each_driver(&Config { headers_max: 8, ..narrow() }, |server| {
        let fragments = [frame(0x01, b""), frame(0x00, b"").repeat(4)].concat();
        let rows: [(&str, Vec<u8>); 20] = [
            ("reserved_bits", frame(0xc1, b"x")),
            ("opcode", frame(0x83, b"")),
            ("opcode", frame(0x8b, b"")),
            ("unmasked", vec![0x81, 0x01, b'a']),
            ("length", vec![0x81, 0xfe, 0, 5, 0, 0, 0, 0]),
            ("control_frame", frame(0x09, b"ping")),
            ("control_frame", frame(0x89, &[b'p'; 126])),
            ("interleaved", [frame(0x01, b"one"), frame(0x81, b"two")].concat()),
            ("continuation", frame(0x80, b"more")),
            ("close_frame", frame(0x88, b"\x03")),
            ("close_frame", frame(0x88, &1005u16.to_be_bytes())),
            ("binary", frame(0x82, b"binary")),
            ("utf8", frame(0x81, b"\xff")),
            ("utf8", [frame(0x01, b"\xe2\x82"), frame(0x80, b"x")].concat()),
            ("utf8", frame(0x88, b"\x03\xe8\xff")),
            ("frame_too_big", frame(0x81, &[b'x'; 1_001])),
            ("message_too_big", [frame(0x01, &[b'x'; 900]), frame(0x80, &[b'x'; 900])].concat()),
            ("fragment_flood", fragments),
            ("control_flood", frame(0x89, b"").repeat(60)),
            ("control_flood", frame(0x8a, b"").repeat(60)),
        ];
        for (expect, bytes) in &rows {
            check(&server, &format!("closes{{{expect}}}"), |server| {
                let mut client = server.join_plain(1, bytes);
                client.close_code();
                assert_eq!(client.rest(), b"", "{expect}");
            });
        }
        let close = frame(0x88, &1000u16.to_be_bytes());
        check(&server, "closes{peer}", |server| assert_eq!(server.join_plain(1, &close).close_code(), 1000));
        check(&server, "closes{app}", |server| {
            let mut client = server.join_plain(1, &frame(0x81, b"close bye"));
            assert_eq!(client.close_code(), 4001);
            client.send(&close);
        });
        check(&server, "closes{hung_up}", |server| drop(server.join_plain(1, &[])));
    });
}

#[test]
fn each_end_without_an_answer_has_its_reason() {
    let config = Config { head_deadline_ms: 300, body_deadline_ms: 300, keep_alive_idle_ms: 300, ..narrow() };
    on_each_driver(&config, |server| {
        let get = b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n";
        let open = |server: &Server, bytes: &[u8]| {
            let mut client = Plain { stream: server.connect() };
            client.send(bytes);
            client
        };
        check(&server, "http_ends{no_request}", |server| drop(open(server, b"").rest()));
        check(&server, "http_ends{keep_alive}", |server| drop(open(server, get).rest()));
        check(&server, "requests_refused{head_deadline}", |server| drop(open(server, b"GET").rest()));
        let part = b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1";
        check(&server, "requests_refused{body_deadline}", |server| drop(open(server, part).rest()));
        check(&server, "http_ends{unused}", |server| {
            drop(server.connect());
            server.until(|stats| stats.http_ends.sum(), 3);
        });
        check(&server, "http_ends{aborted}", |server| {
            let client = open(server, b"GET /");
            client.stream.shutdown(Shutdown::Both).expect("shut down");
            server.until(|stats| stats.http_ends.sum(), 4);
        });
        // Whoever leaves after an answer leaves in good order.
        let before = Counted::now(&server);
        let mut client = open(&server, get);
        assert!(client.head().starts_with("HTTP/1.1 404 "));
        client.stream.flush().expect("flushed");
        drop(client);
        server.until(|stats| stats.http_connections, 0);
        assert_eq!(Counted::now(&server).since(&before), []);
    });
}
