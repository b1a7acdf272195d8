//! Promise: HTTP/1.1 is served as RFC 9112 says, one request after the other, within limits of size and time.
//!
//! Method: plain sockets against both drivers; whole conversations compared byte by byte.

mod rig;

use gochat_core::{Config, HttpEnd, RequestRefused, Response};
use rig::{Plain, Post, Server, Told, config, on_each_driver};
use std::net::Shutdown;

fn open(server: &Server) -> Plain {
    Plain { stream: server.connect() }
}

/// Sends `request` on a connection of its own, and everything must come back as expected before the end.
fn check(server: &Server, request: &str, expect: &str) {
    let mut client = open(server);
    client.send(request.as_bytes());
    let answer = String::from_utf8(client.rest()).expect("ascii");
    assert_eq!(answer, expect, "{request:?}");
}

const OK_TEXT: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\n";

#[test]
fn requests_are_answered_in_order_and_the_connection_is_kept() {
    on_each_driver(&config(), |server| {
        let post = |body: &str| {
            format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len())
        };
        let last = "GET /none HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
        let answers = format!(
            "{OK_TEXT}content-length: 3\r\n\r\none{OK_TEXT}content-length: 3\r\n\r\ntwo\
             HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        );
        check(&server, &[post("one").as_str(), &post("two"), last].concat(), &answers);
        // What follows a close is not looked at.
        let close = &answers[answers.find("HTTP/1.1 404").expect("there")..];
        check(&server, &[last, last].concat(), close);
        let head = format!("{OK_TEXT}content-length: 2\r\nconnection: close\r\n\r\n");
        let request = "HEAD /echo HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi";
        check(&server, request, &head);
        let old = "POST /echo HTTP/1.0\r\nContent-Length: 2\r\n\r\nhi";
        check(&server, old, &format!("{head}hi"));
        // One after the other, each waiting for the answer.
        let mut client = open(&server);
        for _ in 0..3 {
            client.send(b"GET /none HTTP/1.1\r\nHost: a\r\n\r\n");
            assert!(client.head().starts_with("HTTP/1.1 404 "));
        }
        drop(client);
        server.until(|stats| stats.http_connections, 0);
        assert_eq!(server.sum(|stats| stats.input_bytes), 0);
    });
}

#[test]
fn hundreds_of_pipelined_requests_are_all_answered() {
    on_each_driver(&config(), |server| {
        let mut client = open(&server);
        let many: String = (0..400)
            .map(|n| format!("POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n{n:04}"))
            .collect();
        client.send(many.as_bytes());
        client.stream.shutdown(Shutdown::Write).expect("shut down");
        let answers = String::from_utf8(client.rest()).expect("ascii");
        let expect: String = (0..400).map(|n| format!("{OK_TEXT}content-length: 4\r\n\r\n{n:04}")).collect();
        assert_eq!(answers, expect);
    });
}

#[test]
fn what_is_wrong_or_too_much_is_refused_and_the_connection_closed() {
    let config = Config {
        head_max_bytes: 512,
        target_max_bytes: 100,
        headers_max: 4,
        body_max_bytes: 1_000,
        ..config()
    };
    on_each_driver(&config, |server| {
        let refused = |request: &str, expect: &str| {
            let answer = format!("HTTP/1.1 {expect}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            check(&server, request, &answer);
        };
        let x = "x".repeat(600);
        refused("GET / HTTP/1.1\nHost: a\n\n", "400 Bad Request");
        refused("GET / HTTP/1.1\r\n\r\n", "400 Bad Request");
        let both = "Transfer-Encoding: chunked\r\nContent-Length: 3";
        refused(&format!("POST / HTTP/1.1\r\nHost: a\r\n{both}\r\n\r\nabc"), "400 Bad Request");
        let chunked = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
        refused(chunked, "411 Length Required");
        refused("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1001\r\n\r\n", "413 Content Too Large");
        refused(&format!("GET /{x} HTTP/1.1\r\nHost: a\r\n\r\n"), "414 URI Too Long");
        let large = "431 Request Header Fields Too Large";
        refused(&format!("GET / HTTP/1.1\r\nHost: a\r\nX: {x}\r\n\r\n"), large);
        refused("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", large);
        refused("GET / HTTP/2.0\r\n\r\n", "505 HTTP Version Not Supported");
        assert_eq!(server.sum(|stats| stats.requests_refused.sum()), 9);
        assert_eq!(server.sum(|stats| stats.requests), 0);
    });
}

#[test]
fn bodies_are_waited_for_and_asked_for() {
    on_each_driver(&config(), |server| {
        let mut client = open(&server);
        client.send(
            b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n",
        );
        assert_eq!(client.head(), "HTTP/1.1 100 Continue\r\n\r\n");
        client.send(&vec![b'b'; 100_000]);
        assert!(client.head().contains("content-length: 100000\r\n"));
        client.stream.shutdown(Shutdown::Write).expect("shut down");
        assert_eq!(client.rest(), vec![b'b'; 100_000]);
        let too_much =
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10000000\r\nExpect: 100-continue\r\n\r\n";
        let answer = "HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        check(&server, too_much, answer);
    });
}

#[test]
fn large_answers_arrive_at_slow_readers() {
    on_each_driver(&config(), |server| {
        let mut client = open(&server);
        client.send(b"GET /large HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
        server.until(|stats| stats.requests, 1);
        assert!(client.head().contains("content-length: 4194304\r\n"));
        assert_eq!(client.rest().len(), 4 << 20);
    });
}

#[test]
fn pending_requests_are_answered_later_or_with_504() {
    let config = Config { request_deadline_ms: 1_000, ..config() };
    on_each_driver(&config, |server| {
        let mut client = open(&server);
        // The second request waits its turn.
        client.send(b"GET /pending HTTP/1.1\r\nHost: a\r\n\r\nGET /at-once HTTP/1.1\r\nHost: a\r\n\r\n");
        let Told::Pending(id) = server.told() else { panic!("a request") };
        let mailboxes = server.mailboxes();
        let answer = || Post::Answer(id, Response::new(201).body("later"));
        mailboxes.shard(id.shard()).post(answer(), 1).expect("room");
        mailboxes.shard(id.shard()).post(answer(), 1).expect("room");
        assert!(client.head().starts_with("HTTP/1.1 201 "));
        let mut body = [0; 5];
        std::io::Read::read_exact(&mut client.stream, &mut body).expect("a body");
        assert_eq!(&body, b"later");
        assert!(client.head().starts_with("HTTP/1.1 202 "));
        server.until(|stats| stats.answers_late, 1);
        client.send(b"GET /pending HTTP/1.1\r\nHost: a\r\n\r\n");
        assert!(client.head().starts_with("HTTP/1.1 504 "));
        assert_eq!(server.sum(|stats| stats.requests_unanswered), 1);
    });
}

#[test]
fn each_wait_has_its_deadline() {
    let config = Config {
        head_deadline_ms: 60,
        body_deadline_ms: 60,
        keep_alive_idle_ms: 60,
        close_deadline_ms: 500,
        ..config()
    };
    on_each_driver(&config, |server| {
        let timeout = "HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        check(&server, "GET / HT", timeout);
        check(&server, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n1", timeout);
        check(&server, "", "");
        let kept = "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n";
        check(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", kept);
        check(&server, "GET / HTTP/1.1\r\nHost: a\r\n\r\nGET", &format!("{kept}{timeout}"));
        let refused = |why| server.sum(|stats| stats.requests_refused.of(why));
        assert_eq!((refused(RequestRefused::HeadDeadline), refused(RequestRefused::BodyDeadline)), (2, 1));
        let ended = |why| server.sum(|stats| stats.http_ends.of(why));
        assert_eq!((ended(HttpEnd::NoRequest), ended(HttpEnd::KeepAlive)), (1, 1));
        // One that never ends after the last answer is let go as well.
        let mut stubborn = open(&server);
        stubborn.send(b"GET / HTTP/1.0\r\n\r\n");
        assert!(stubborn.head().starts_with("HTTP/1.1 404 "));
        server.until(|stats| stats.http_connections, 0);
        assert_eq!((ended(HttpEnd::CloseDeadline), server.sum(|stats| stats.http_ends.sum())), (1, 3));
    });
}

#[test]
fn upgrades_that_are_none_are_refused() {
    on_each_driver(&config(), |server| {
        let mut client = open(&server);
        client.send(b"GET /ws HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.head();
        assert!(
            head.starts_with("HTTP/1.1 426 ") && head.contains("sec-websocket-version: 13\r\n"),
            "{head}"
        );
        let upgrade = "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n";
        client.send(format!("{upgrade}Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: x\r\n\r\n").as_bytes());
        let head = client.head();
        assert!(
            head.starts_with("HTTP/1.1 426 ") && head.contains("sec-websocket-version: 13\r\n"),
            "{head}"
        );
        client.send(format!("{upgrade}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: x\r\n\r\n").as_bytes());
        assert!(client.head().starts_with("HTTP/1.1 400 "));
        let key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Protocol: chat.v1";
        client.send(format!("{upgrade}Sec-WebSocket-Version: 13\r\n{key}\r\n\r\n").as_bytes());
        let head = client.head();
        assert!(
            head.starts_with("HTTP/1.1 101 ") && head.contains("sec-websocket-protocol: chat.v1\r\n"),
            "{head}"
        );
        assert_eq!(server.sum(|stats| stats.upgrades), 1);
    });
}
