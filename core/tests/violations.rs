//! Promise: a client that breaks the protocol is told which rule, by the code of RFC 6455, section 7.4, and only that
//! client pays.
//!
//! Method: hand-made frames against both drivers, another connection watching.

mod rig;

use gochat_core::{Breach, CloseReason, Config, ForcedBy, RequestRefused};
use rig::{Plain, config, frame, on_each_driver, text};
use tungstenite::Message;

#[test]
fn each_breach_has_its_code() {
    let config = Config { frame_max_bytes: 1_000, message_max_bytes: 1_500, ..config() };
    on_each_driver(&config, |server| {
        let mut bystander = server.join(1);
        let check = |bytes: &[u8], code: u16| {
            let mut client = server.join_plain(2, bytes);
            // More input than the engine looks at must not destroy the close frame.
            client.send(&frame(0x81, &[b'x'; 900]));
            assert_eq!(client.close_code(), code, "{bytes:x?}");
            assert_eq!(client.rest(), b"");
            drop(client);
            assert!(matches!(server.closed(), CloseReason::Protocol(breach) if breach.code() == code));
        };
        check(&[0x81, 0x01, b'a'], 1002);
        check(&[0xc1, 0x80, 0, 0, 0, 0], 1002);
        check(&[0x83, 0x80, 0, 0, 0, 0], 1002);
        check(&[0x81, 0xfe, 0, 5, 0, 0, 0, 0], 1002);
        check(&frame(0x09, b"a ping in fragments"), 1002);
        check(&frame(0x80, b"nothing to continue"), 1002);
        check(&[frame(0x01, b"one"), frame(0x81, b"two")].concat(), 1002);
        check(&frame(0x88, &1005u16.to_be_bytes()), 1002);
        check(&frame(0x82, b"binary"), 1003);
        check(&frame(0x81, b"\xc3\x28"), 1007);
        check(&[frame(0x01, b"\xe2\x82"), frame(0x80, b"x")].concat(), 1007);
        check(&frame(0x81, &[b'x'; 1_001]), 1009);
        check(&[frame(0x01, &[b'x'; 900]), frame(0x80, &[b'x'; 900])].concat(), 1009);
        bystander.send(Message::text("unharmed")).expect("sent");
        assert_eq!(text(&mut bystander), "unharmed");
        assert_eq!(server.sum(|stats| stats.closes.sum()), 13);
        assert_eq!(server.sum(|stats| stats.ws_connections), 1);
    });
}

#[test]
fn a_client_that_never_ends_is_let_go_at_the_deadline() {
    let config = Config { close_deadline_ms: 20, ..config() };
    on_each_driver(&config, |server| {
        let mut client = server.join_plain(2, &frame(0x82, b"binary"));
        assert_eq!(client.close_code(), 1003);
        assert_eq!(server.closed(), CloseReason::Protocol(Breach::Binary));
        assert_eq!(server.sum(|stats| stats.forced_closes.of(ForcedBy::CloseDeadline)), 1);
    });
}

#[test]
fn incomplete_input_has_a_budget() {
    let mut config = Config { frame_max_bytes: 4_096, message_max_bytes: 4_096, ..config() };
    (config.head_max_bytes, config.target_max_bytes, config.body_max_bytes) = (1_024, 256, 1_024);
    config.receive_buffer_bytes = 4_096;
    config.input_shard_max_bytes = 12_288;
    on_each_driver(&config, |server| {
        let part = &frame(0x81, &[b'x'; 4_000])[..3_900];
        let clients: Vec<_> = (0..3)
            .map(|n| {
                let mut client = server.join_plain(2, &[]);
                client.send(part);
                server.until(|stats| stats.input_bytes, (n + 1) * part.len() as u64);
                client
            })
            .collect();
        let mut unlucky = server.join_plain(2, &[]);
        unlucky.send(part);
        assert_eq!(unlucky.close_code(), 1013);
        drop(unlucky);
        assert_eq!(server.closed(), CloseReason::InputBudget);
        let mut request = Plain { stream: server.connect() };
        let head = b"POST /echo HTTP/1.1\r\nHost: a\r\nContent-Length: 1000\r\n\r\n";
        request.send(&[&head[..], &[b'x'; 900]].concat());
        let answer = request.head();
        assert!(answer.starts_with("HTTP/1.1 503 ") && answer.contains("retry-after: 1\r\n"), "{answer}");
        assert_eq!(server.sum(|stats| stats.requests_refused.of(RequestRefused::InputBudget)), 1);
        drop((clients, request));
        server.until(|stats| stats.input_bytes, 0);
    });
}
