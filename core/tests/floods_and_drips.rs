//! Promise: who floods a connection with control frames or fragments, or lets his bytes come in drop by drop, is told so
//! and closed; whoever stays within the limits is not.
//!
//! Method: small limits, and clients that reach them and go beyond. A drip never pauses for as long as the deadline, so
//! that only a deadline for the whole can end it.

mod rig;

use gochat_core::{Breach, CloseReason, Config, RequestRefused};
use rig::{Plain, Server, config, frame, on_each_driver};
use std::io::{Read, Write};
use std::time::Duration;

/// Sends `bytes` again and again, one piece at a time, until the server ends the connection; what it said.
fn drip(mut client: Plain, pieces: &[&[u8]]) -> Vec<u8> {
    // The pause between two pieces is the time that a read waits for the server's word.
    client.stream.set_read_timeout(Some(Duration::from_millis(10))).expect("a timeout");
    let (mut said, mut buffer) = (Vec::new(), [0; 1024]);
    for piece in pieces.iter().cycle() {
        // The server's end comes before the error of a write that nobody reads any more.
        let _ = client.stream.write_all(piece);
        match client.stream.read(&mut buffer) {
            Ok(0) => return said,
            Ok(count) => said.extend_from_slice(&buffer[..count]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => panic!("{error} after {said:?}"),
        }
    }
    unreachable!("a cycle")
}

fn open(server: &Server, behind: &[u8]) -> Plain {
    let mut client = Plain { stream: server.connect() };
    client.send(behind);
    client
}

#[test]
fn a_ping_flood_is_closed_with_1008() {
    let config = Config { control_frames_per_second_max: 50, ..config() };
    on_each_driver(&config, |server| {
        for first in [0x89, 0x8a] {
            let mut client = server.join_plain(1, &frame(first, b"").repeat(150));
            assert_eq!(client.close_code(), 1008);
            assert_eq!(client.rest(), b"");
            drop(client);
            assert_eq!(server.closed(), CloseReason::Protocol(Breach::ControlFlood));
        }
        // As many as are allowed are answered, and text frames don't count.
        let mut client = server.join_plain(1, &frame(0x89, b"p").repeat(50));
        for _ in 0..50 {
            assert_eq!(client.frame(), (0x8a, b"p".to_vec()));
        }
        client.send(&frame(0x81, b"t").repeat(200));
        for _ in 0..200 {
            assert_eq!(client.frame(), (0x81, b"t".to_vec()));
        }
    });
}

#[test]
fn a_fragment_flood_is_closed_with_1008() {
    let config = Config { fragments_per_message_max: 20, ..config() };
    on_each_driver(&config, |server| {
        let flood = [frame(0x01, b""), frame(0x00, b"").repeat(20)].concat();
        let mut client = server.join_plain(1, &flood);
        assert_eq!(client.close_code(), 1008);
        assert_eq!(client.rest(), b"");
        drop(client);
        assert_eq!(server.closed(), CloseReason::Protocol(Breach::FragmentFlood));
        let fits = [frame(0x01, b"a"), frame(0x00, b"b").repeat(18), frame(0x80, b"c")].concat();
        let mut client = server.join_plain(1, &fits.repeat(3));
        for _ in 0..3 {
            assert_eq!(client.frame(), (0x81, format!("a{}c", "b".repeat(18)).into_bytes()));
        }
        server.until(|stats| stats.input_bytes, 0);
    });
}

#[test]
fn a_message_that_drips_is_closed_with_1008() {
    let config = Config { message_deadline_ms: 100, control_frames_per_second_max: 1 << 20, ..config() };
    on_each_driver(&config, |server| {
        let long = frame(0x81, &[b'x'; 60_000]);
        let header = &long[..8];
        let (first, more, ping) = (frame(0x01, b"a"), frame(0x00, b"b"), frame(0x89, b""));
        let cases: [(&[u8], &[&[u8]]); 4] = [
            (header, &[b"y"]),
            (&frame(0x89, b"ping")[..3], &[b""]),
            (&first, &[&more]),
            // What comes between the fragments doesn't make them come sooner.
            (&first, &[&more, &ping]),
        ];
        for (start, pieces) in cases {
            let said = drip(server.join_plain(1, start), pieces);
            let text = b"the message took too long";
            let close = [&[0x88, 2 + text.len() as u8], &1008u16.to_be_bytes()[..], text].concat();
            assert!(said.ends_with(&close), "{said:?}");
            assert_eq!(server.closed(), CloseReason::MessageDeadline);
        }
        assert_eq!(server.sum(|stats| stats.closes.of(CloseReason::MessageDeadline)), 4);
        server.until(|stats| stats.input_bytes, 0);
    });
}

#[test]
fn messages_that_are_each_in_time_go_on_for_longer_than_the_deadline() {
    let config = Config { message_deadline_ms: 1_500, ..config() };
    on_each_driver(&config, |server| {
        let mut client = server.join_plain(1, &[]);
        let whole = frame(0x81, b"hello");
        // Each write ends one message and begins the next, so that something is incomplete all the time.
        client.send(&whole[..4]);
        let mut rounds = 0;
        while server.sum(|stats| stats.timers) == 0 {
            client.send(&[&whole[4..], &whole[..4]].concat());
            assert_eq!(client.frame(), (0x81, b"hello".to_vec()));
            rounds += 1;
            if rounds == 1 {
                client.send(&[&whole[4..], &frame(0x81, b"timer 2000"), &whole[..4]].concat());
                assert_eq!(client.frame(), (0x81, b"hello".to_vec()));
            }
        }
        assert_eq!(server.sum(|stats| stats.ws_closing), 0);
    });
}

#[test]
fn a_request_that_drips_is_answered_408() {
    let config = Config { head_deadline_ms: 100, body_deadline_ms: 100, ..config() };
    on_each_driver(&config, |server| {
        let timeout: &[u8] =
            b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
        assert_eq!(drip(open(&server, b"GET /"), &[b"x"]), timeout);
        assert_eq!(drip(open(&server, b"GET / HTTP/1.1\r\n"), &[b"a: b\r", b"\n"]), timeout);
        let body = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n";
        assert_eq!(drip(open(&server, body), &[b"x"]), timeout);
        let refused = |why| server.sum(|stats| stats.requests_refused.of(why));
        assert_eq!((refused(RequestRefused::HeadDeadline), refused(RequestRefused::BodyDeadline)), (2, 1));
        server.until(|stats| stats.input_bytes + stats.http_connections, 0);
    });
}
