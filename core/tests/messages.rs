//! Promise: whatever a client says in proper frames reaches the app whole and in order, and comes back.
//!
//! Method: an independent client (tungstenite) and hand-made frames, against both drivers.

mod rig;

use gochat_core::CloseReason;
use rig::{Told, close_code, config, frame, on_each_driver, text};
use std::io::Write;
use tungstenite::protocol::CloseFrame;
use tungstenite::{Bytes, Message};

#[test]
fn messages_of_every_length_class_are_echoed() {
    on_each_driver(&config(), |server| {
        let mut client = server.join(1);
        for length in [0, 1, 125, 126, 127, 4_095, 65_535, 65_536] {
            let message = "é".repeat(length / 2) + &"x".repeat(length % 2);
            client.send(Message::text(message.clone())).expect("sent");
            assert_eq!(text(&mut client), message);
        }
        client.close(None).expect("closing");
        assert_eq!(close_code(&mut client), 1005);
        assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
        assert_eq!(server.closed(), CloseReason::Peer(1005));
    });
}

#[test]
fn a_message_in_fragments_with_pings_between_them_is_one() {
    on_each_driver(&config(), |server| {
        let mut client = server.join_plain(1, &[]);
        let message = "voilà, 漢字 and 😀".as_bytes();
        client.send(&frame(0x01, &message[..5]));
        for byte in &message[5..message.len() - 1] {
            client.send(&frame(0x00, &[*byte]));
        }
        client.send(&frame(0x89, b"still there?"));
        client.send(&frame(0x80, &message[message.len() - 1..]));
        assert_eq!(client.frame(), (0x8a, b"still there?".to_vec()));
        assert_eq!(client.frame(), (0x81, message.to_vec()));
    });
}

#[test]
fn many_messages_in_one_write_come_back_in_order_and_in_few_writes() {
    on_each_driver(&config(), |server| {
        let mut client = server.join_plain(1, &[]);
        let before = server.sum(|stats| stats.writes);
        let many: Vec<u8> = (0..500).flat_map(|n| frame(0x81, format!("message {n}").as_bytes())).collect();
        client.send(&many);
        for n in 0..500 {
            assert_eq!(client.frame(), (0x81, format!("message {n}").into_bytes()));
        }
        let writes = server.sum(|stats| stats.writes) - before;
        assert!(writes < 50, "{writes} writes for 500 messages");
    });
}

#[test]
fn bytes_that_trickle_in_mean_the_same() {
    on_each_driver(&config(), |server| {
        let mut client = server.join_plain(1, &[]);
        client.stream.set_nodelay(true).expect("an option");
        for byte in frame(0x81, "trickling ünïcode".as_bytes()) {
            client.stream.write_all(&[byte]).expect("written");
        }
        assert_eq!(client.frame(), (0x81, "trickling ünïcode".as_bytes().to_vec()));
        server.until(|stats| stats.input_bytes, 0);
    });
}

#[test]
fn pings_are_answered_and_pongs_ignored() {
    on_each_driver(&config(), |server| {
        let mut client = server.join(1);
        client.send(Message::Pong(Bytes::from_static(b"unasked"))).expect("sent");
        client.send(Message::Ping(Bytes::from_static(b"\x00\xff"))).expect("sent");
        assert_eq!(client.read().expect("a pong"), Message::Pong(Bytes::from_static(b"\x00\xff")));
    });
}

#[test]
fn both_sides_can_close_with_a_reason() {
    on_each_driver(&config(), |server| {
        let mut client = server.join(1);
        client.send(Message::text("close enough")).expect("sent");
        let Message::Close(Some(close)) = client.read().expect("a close frame") else {
            panic!("no close frame")
        };
        assert_eq!((u16::from(close.code), close.reason.as_str()), (4001, "enough"));
        assert!(matches!(client.read(), Err(tungstenite::Error::ConnectionClosed)));
        assert_eq!(server.closed(), CloseReason::App(4001));

        let mut client = server.join(1);
        client.close(Some(CloseFrame { code: 4242.into(), reason: "bye".into() })).expect("closing");
        assert_eq!(close_code(&mut client), 4242);
        assert_eq!(server.closed(), CloseReason::Peer(4242));

        drop(server.join(1));
        assert_eq!(server.closed(), CloseReason::HungUp);
        assert_eq!(server.sum(|stats| stats.ws_connections), 0);
    });
}

#[test]
fn the_session_and_the_key_come_with_the_connection() {
    on_each_driver(&config(), |server| {
        let mut client = server.join_plain(77, &frame(0x81, b"session"));
        assert_eq!(server.told(), Told::Open { shard: 0, key: 77 });
        assert_eq!(client.frame(), (0x81, b"s77".to_vec()));
        drop(client);
        let session = "s77".to_owned();
        assert_eq!(server.told(), Told::Close { shard: 0, key: 77, session, reason: CloseReason::HungUp });
    });
}
