//! Promise: whatever bytes come, each breach of HTTP/1.1 or RFC 6455 has its one answer, and the shard serves on.
//!
//! Method: tables of what a client may send wrongly, each row on a connection of its own, with the status or the close code
//! that must come back; after each row another client gets its answer, and in the end nothing has panicked or leaked.

mod rig;

use gochat_core::Config;
use rig::{Plain, Server, config, frame, on_each_driver};

fn narrow() -> Config {
    Config {
        head_max_bytes: 2_048,
        target_max_bytes: 200,
        headers_max: 10,
        body_max_bytes: 1_000,
        head_deadline_ms: 1_500,
        frame_max_bytes: 1_000,
        message_max_bytes: 1_500,
        fragments_per_message_max: 4,
        ..config()
    }
}

/// A request line and headers, which are wrong in one place.
fn head(line: &str, headers: &[&str]) -> Vec<u8> {
    let lines = std::iter::once(line).chain(headers.iter().copied());
    lines
        .map(|line| format!("{line}\r\n"))
        .collect::<String>()
        .into_bytes()
        .into_iter()
        .chain(*b"\r\n")
        .collect()
}

fn get(headers: &[&str]) -> Vec<u8> {
    head("GET /echo HTTP/1.1", headers)
}

fn post(headers: &[&str]) -> Vec<u8> {
    head("POST /echo HTTP/1.1", &[&["Host: a"], headers].concat())
}

fn line(line: &str) -> Vec<u8> {
    head(line, &["Host: a"])
}

/// Lines that end wrongly, and what is no HTTP/1.1 at all.
fn framing() -> Vec<(Vec<u8>, u16)> {
    let raw = |bytes: &[u8]| bytes.to_vec();
    vec![
        (raw(b"GET / HTTP/1.1\nHost: a\n\n"), 400),
        (raw(b"GET / HTTP/1.1\r\nHost: a\n\r\n"), 400),
        (raw(b"GET / HTTP/1.1\r\nHost: a\r\n\n"), 400),
        (raw(b"\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), 400),
        (raw(b"GET / HTTP/1.1\rHost: a\r\r"), 408),
        (raw(b"GET / HTTP/1.1\r\rHost: a\r\n\r\n"), 400),
        (raw(b"GET / HTTP/1.1\r\nHost: a\r\r\n\r\n"), 400),
        (raw(b"GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n"), 400),
        (raw(b"\r\n\r\n\0\r\n\r\n"), 400),
        (raw(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), 408),
        (raw(b"\x16\x03\x01\x02\x00\n"), 400),
        (raw(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 505),
        (raw(&[0xff; 3_000]), 414),
        (line("GET / HTTP/2.0"), 505),
        (line("GET / HTTP/0.9"), 505),
        (line("GET / HTTP/1.2"), 505),
        (line("GET / HTTP/1.11"), 400),
        (line("GET / http/1.1"), 505),
        (line("GET / HTTP/1"), 505),
        (line("GET / "), 505),
        (line("GET /"), 400),
        (line("GET"), 400),
        (line(" / HTTP/1.1"), 400),
        (line("G@T / HTTP/1.1"), 400),
        (line("G\0T / HTTP/1.1"), 400),
        (line("G\u{e9}T / HTTP/1.1"), 400),
        (line("GET  HTTP/1.1"), 400),
        (line("GET a HTTP/1.1"), 400),
        (line("GET host:443 HTTP/1.1"), 400),
        (line("GET ftp://a/ HTTP/1.1"), 400),
        (line("GET /a b HTTP/1.1"), 505),
        (line("GET /\0 HTTP/1.1"), 400),
        (line("GET /\x01 HTTP/1.1"), 400),
        (line("GET /\x7f HTTP/1.1"), 400),
        (line(&format!("GET /{} HTTP/1.1", "a".repeat(200))), 414),
        (line(&format!("GET /{} HTTP/1.1", "a".repeat(4_000))), 414),
    ]
}

/// Headers that are none, that contradict each other, or that are too much.
fn headers() -> Vec<(Vec<u8>, u16)> {
    let many: Vec<String> = (0..11).map(|n| format!("X-{n}: y")).collect();
    let many: Vec<&str> = std::iter::once("Host: a").chain(many.iter().map(|one| &**one)).collect();
    let long = format!("X: {}", "y".repeat(2_100));
    vec![
        (get(&[]), 400),
        (get(&["Host: a", "Host: a"]), 400),
        (get(&["Host: a", "host: b"]), 400),
        (get(&["Host: a", " folded: b"]), 400),
        (get(&["Host: a", "\tfolded"]), 400),
        (get(&[" Host: a"]), 400),
        (get(&["Host : a"]), 400),
        (get(&["Host: a", "X\t: b"]), 400),
        (get(&["Host: a", "X y: b"]), 400),
        (get(&["Host: a", ": b"]), 400),
        (get(&["Host: a", "X"]), 400),
        (get(&["Host: a", "X\0: b"]), 400),
        (get(&["Host: a", "X: b\0c"]), 400),
        (get(&["Host: a", "X: b\x01c"]), 400),
        (get(&["Host: a", "X: b\x7fc"]), 400),
        (get(&["Host: a", "H\u{f6}st: b"]), 400),
        (get(&["Host: a", "X(: b"]), 400),
        (get(&many), 431),
        (get(&["Host: a", &long]), 431),
        (post(&["Content-Length: 3", "Transfer-Encoding: chunked"]), 400),
        (post(&["Transfer-Encoding: chunked", "Content-Length: 3"]), 400),
        (post(&["Transfer-Encoding: chunked"]), 411),
        (post(&["Transfer-Encoding: identity"]), 411),
        (post(&["Transfer-Encoding: gzip, chunked"]), 411),
        (post(&["transfer-encoding: xchunked"]), 411),
        (post(&["Transfer-Encoding: chunked", "Transfer-Encoding: chunked"]), 411),
        (post(&["Transfer-Encoding:"]), 411),
        (post(&["Content-Length: 1", "Content-Length: 2"]), 400),
        (post(&["Content-Length: 1, 1"]), 400),
        (post(&["Content-Length: -1"]), 400),
        (post(&["Content-Length: +1"]), 400),
        (post(&["Content-Length: 0x1"]), 400),
        (post(&["Content-Length: 1 1"]), 400),
        (post(&["Content-Length: 1.0"]), 400),
        (post(&["Content-Length: 1e1"]), 400),
        (post(&["Content-Length:"]), 400),
        (post(&["Content-Length: \u{ff11}"]), 400),
        (post(&["Content-Length: 18446744073709551617"]), 400),
        (post(&["Content-Length: 9223372036854775807"]), 413),
        (post(&["Content-Length: 1001"]), 413),
        (post(&["Content-Length: 1", "Expect: 200-ok"]), 417),
    ]
}

/// Upgrades that are none. The connection goes on after most of these answers.
fn upgrades() -> Vec<(Vec<u8>, u16)> {
    let good = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
                Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n";
    let but = |from: &str, to: &str| {
        assert!(good.contains(from), "{from}");
        good.replace(from, to).into_bytes()
    };
    let key = "dGhlIHNhbXBsZSBub25jZQ==";
    vec![
        (but("Version: 13", "Version: 8"), 426),
        (but("Version: 13", "Version: 013"), 426),
        (but("Version: 13", "Version: 13, 8"), 426),
        (but("Version: 13", "Version:"), 426),
        (but("Sec-WebSocket-Version: 13\r\n", ""), 400),
        (but(key, ""), 400),
        (but(key, "dGhlIHNhbXBsZQ=="), 400),
        (but(key, "dGhlIHNhbXBsZSBub25jZTE="), 400),
        (but(key, "dGhlIHNhbXBsZSBub25jZQ"), 400),
        (but(key, "!!!!IHNhbXBsZSBub25jZQ=="), 400),
        (but(key, &format!("{key}\r\nSec-WebSocket-Key: {key}")), 400),
        (but(&format!("Sec-WebSocket-Key: {key}\r\n"), ""), 400),
        (but("Upgrade: websocket", "Upgrade: h2c"), 426),
        (but("Upgrade: websocket\r\n", ""), 426),
        (but("Connection: Upgrade\r\n", ""), 426),
        (but("Connection: Upgrade", "Connection: keep-alive"), 426),
        (but("Connection: Upgrade", "Connection: upgraded"), 426),
        (but("GET /ws", "POST /ws"), 400),
        (but("HTTP/1.1", "HTTP/1.0"), 400),
    ]
}

/// Headers of frames that are wrong whatever their payload.
fn frame_headers() -> Vec<(Vec<u8>, u16)> {
    let reserved = [0xc1, 0xa1, 0x91, 0xf1].map(|first| (frame(first, b"x"), 1002));
    let opcodes =
        [0x83, 0x84, 0x85, 0x86, 0x87, 0x8b, 0x8c, 0x8d, 0x8e, 0x8f].map(|op| (frame(op, b""), 1002));
    let others = [
        (vec![0x81, 0x01, b'a'], 1002),
        (vec![0x89, 0x00], 1002),
        (vec![0x88, 0x02, 3, 232], 1002),
        (frame(0x89, &[b'p'; 126]), 1002),
        (frame(0x8a, &[b'p'; 126]), 1002),
        (frame(0x88, &[b'p'; 126]), 1002),
        (frame(0x09, b"ping"), 1002),
        (frame(0x0a, b"pong"), 1002),
        (frame(0x08, &[3, 232]), 1002),
        (frame(0x80, b"nothing to continue"), 1002),
        (frame(0x00, b"nothing to continue"), 1002),
        ([frame(0x01, b"one"), frame(0x81, b"two")].concat(), 1002),
        ([frame(0x01, b"one"), frame(0x01, b"two")].concat(), 1002),
        ([frame(0x01, b"one"), frame(0x80, b"two"), frame(0x80, b"three")].concat(), 1002),
        (vec![0x81, 0xfe, 0, 125, 0, 0, 0, 0], 1002),
        (vec![0x81, 0xff, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0], 1002),
        (vec![0x81, 0xff, 0x80, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0], 1002),
        (frame(0x82, b"binary"), 1003),
        (frame(0x02, b"binary"), 1003),
        ([frame(0x01, b"one"), frame(0x82, b"binary")].concat(), 1003),
        (vec![0x81, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0], 1009),
        (frame(0x81, &[b'x'; 1_001]), 1009),
        (frame(0x81, &[b'x'; 1_001])[..8].to_vec(), 1009),
        ([frame(0x01, &[b'x'; 900]), frame(0x80, &[b'x'; 601])].concat(), 1009),
        ([frame(0x01, b""), frame(0x00, b"").repeat(4)].concat(), 1008),
    ];
    reserved.into_iter().chain(opcodes).chain(others).collect()
}

/// Payloads that are no UTF-8, and close frames that say nothing valid.
fn payloads() -> Vec<(Vec<u8>, u16)> {
    let texts: [&[u8]; 7] = [
        b"\xc3\x28",
        b"\x80",
        b"\xc0\xaf",
        b"\xed\xa0\x80",
        b"\xf4\x90\x80\x80",
        b"\xf8\x88\x80\x80\x80",
        b"fine until \xe2\x82",
    ];
    let codes = [0u16, 999, 1004, 1005, 1006, 1015, 1016, 2999, 5000, 65_535];
    let pieces = |parts: &[&[u8]]| {
        let last = parts.len() - 1;
        let frames = parts.iter().enumerate();
        frames
            .flat_map(|(at, part)| frame(u8::from(at == 0) | if at == last { 0x80 } else { 0 }, part))
            .collect::<Vec<u8>>()
    };
    let others = [
        (pieces(&[b"\xe2\x82", b"x"]), 1007),
        (pieces(&[b"\xf0\x9f", b"\x98", b""]), 1007),
        (pieces(&[b"fine", b"\xff", b"fine"]), 1007),
        (pieces(&[b"\xed", b"\xa0", b"\x80"]), 1007),
        (frame(0x88, b"\x03"), 1002),
        (frame(0x88, b"\x03\xe8\xc3\x28"), 1007),
        (frame(0x88, b"\x03\xe8cut \xe2\x82"), 1007),
    ];
    let texts = texts.into_iter().map(|text| (frame(0x81, text), 1007));
    let codes = codes.into_iter().map(|code| (frame(0x88, &code.to_be_bytes()), 1002));
    texts.chain(codes).chain(others).collect()
}

/// How a client shows in a failed assertion.
fn shown(bytes: &[u8]) -> String {
    bytes[..bytes.len().min(200)].escape_ascii().to_string()
}

fn answer(server: &Server, request: &[u8]) -> (Plain, String, u16) {
    let mut client = Plain { stream: server.connect() };
    client.send(request);
    let head = client.head();
    let status = head.get(9..12).and_then(|status| status.parse().ok());
    let status = status.unwrap_or_else(|| panic!("no status in {head}"));
    (client, head, status)
}

/// Another client of the shard.
struct Bystander(Plain);

impl Bystander {
    fn is_served(&mut self) {
        self.0.send(&frame(0x81, b"served"));
        assert_eq!(self.0.frame(), (0x81, b"served".to_vec()));
    }
}

#[test]
fn each_wrong_request_has_its_status() {
    on_each_driver(&narrow(), |server| {
        let mut bystander = Bystander(server.join_plain(1, &[]));
        let refused = [framing(), headers()].concat();
        let mut wrong = Vec::new();
        assert!(refused.len() >= 75, "{} rows", refused.len());
        for (request, expect) in &refused {
            let (mut client, head, status) = answer(&server, request);
            if status != *expect || !head.contains("connection: close\r\n") {
                wrong.push(format!("{}: {head}", shown(request)));
                continue;
            }
            assert_eq!(client.rest(), b"", "{}", shown(request));
            bystander.is_served();
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
        assert_eq!(server.sum(|stats| stats.requests_refused.sum()), refused.len() as u64);
        for (request, expect) in upgrades() {
            let (_, head, status) = answer(&server, &request);
            assert_eq!(status, expect, "{}: {head}", shown(&request));
            bystander.is_served();
        }
        server.until(|stats| stats.http_connections + stats.input_bytes, 0);
        assert_eq!(server.sum(|stats| stats.panics), 0);
        server.join_plain(2, &[]);
    });
}

#[test]
fn each_wrong_frame_has_its_close_code() {
    on_each_driver(&narrow(), |server| {
        let mut bystander = Bystander(server.join_plain(1, &[]));
        let rows = [frame_headers(), payloads()].concat();
        assert!(rows.len() >= 60, "{} rows", rows.len());
        for (bytes, code) in &rows {
            let mut client = server.join_plain(2, bytes);
            assert_eq!(client.close_code(), *code, "{}", shown(bytes));
            assert_eq!(client.rest(), b"", "{}", shown(bytes));
            drop(client);
            bystander.is_served();
        }
        server.until(|stats| stats.ws_connections, 1);
        assert_eq!(server.sum(|stats| stats.input_bytes + stats.panics), 0);
        server.join_plain(3, &[]);
    });
}
