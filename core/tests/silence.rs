//! Promise: a peer that has gone silently is found and let go; one that answers pings stays.
//!
//! Method: short intervals, a client that answers pings and one that does not.

mod rig;

use gochat_core::{CloseReason, Config};
use rig::{Told, config, frame, on_each_driver};

#[test]
fn who_answers_pings_stays_and_who_does_not_goes() {
    let config = Config { ping_interval_ms: 20, pong_deadline_ms: 1_000, ..config() };
    on_each_driver(&config, |server| {
        let mut lively = server.join_plain(1, &[]);
        let dead = server.join_plain(2, &[]);
        for _ in 0..2 {
            assert!(matches!(server.told(), Told::Open { .. }));
        }
        while server.sum(|stats| stats.closes.of(CloseReason::Idle)) == 0 {
            assert_eq!(lively.frame(), (0x89, Vec::new()));
            lively.send(&frame(0x8a, b""));
        }
        let Told::Close { key, reason, .. } = server.told() else { panic!("a close") };
        assert_eq!((key, reason), (2, CloseReason::Idle));
        assert_eq!(server.sum(|stats| stats.ws_connections), 1);
        drop(dead);
    });
}

#[test]
fn who_still_has_to_read_is_not_taken_for_silent() {
    let config = Config {
        ping_interval_ms: 50,
        pong_deadline_ms: 100,
        write_deadline_ms: 3_600_000,
        outbox_connection_max_bytes: 64 << 20,
        ..config()
    };
    on_each_driver(&config, |server| {
        // It is blocked by the echoes long before its last byte has come, so that it is never silent and free to read.
        let echoes = frame(0x81, &[b'x'; 60_000]).repeat(250);
        let slow = server.join_over(server.connect_narrow(), 1, &echoes);
        server.until(|stats| stats.messages_in, 250);
        // A ping would stand behind all that; the write deadline is for such. Another client shows that the time is over.
        let silent = server.join_plain(2, &[]);
        let ends = std::iter::from_fn(|| Some(server.told()));
        let mut ends = ends.filter(|told| matches!(told, Told::Close { .. }));
        let Some(Told::Close { key, reason, .. }) = ends.next() else { panic!("an end") };
        assert_eq!((key, reason), (2, CloseReason::Idle));
        assert_eq!(server.sum(|stats| stats.ws_connections), 1);
        drop((slow, silent));
    });
}

#[test]
fn timers_of_the_app_fire() {
    on_each_driver(&config(), |server| {
        let mut client = server.join_plain(1, &frame(0x81, b"timer 42"));
        assert_eq!(server.told(), Told::Open { shard: 0, key: 1 });
        assert_eq!(server.told(), Told::Timer(42));
        server.until(|stats| stats.timers_set, 0);
        client.send(&frame(0x88, &[]));
    });
    let none = Config { app_timers_max: 0, ..config() };
    on_each_driver(&none, |server| {
        // The app asserts that its timer is taken: here it panics, which closes the connection.
        let mut client = server.join_plain(1, &frame(0x81, b"timer 42"));
        assert_eq!(client.close_code(), 1011);
        assert_eq!(server.sum(|stats| stats.timers_refused), 1);
    });
}
