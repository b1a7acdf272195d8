//! Promise: wherever a connection is accepted, it ends up on the home shard of its key with its session and every byte
//! that was sent behind the upgrade, so that all devices of a key meet there.
//!
//! Method: four shards; the kernel spreads the clients over the listeners; each sends frames in the same write as its
//! upgrade, half a frame included.

mod rig;

use gochat_core::{CloseReason, Config, home_of};
use rig::{Post, Told, config, frame, on_each_driver};

const SHARDS: usize = 4;

#[test]
fn pipelined_bytes_and_the_session_go_along() {
    on_each_driver(&Config { shards: SHARDS, ..config() }, |server| {
        for key in 0..60 {
            let last = frame(0x81, b"the last, in two halves");
            let (half, rest) = last.split_at(last.len() / 2);
            let behind = [frame(0x81, b"session"), frame(0x81, b"second"), half.to_vec()].concat();
            let mut client = server.join_plain(key, &behind);
            assert_eq!(client.frame(), (0x81, format!("s{key}").into_bytes()));
            assert_eq!(client.frame(), (0x81, b"second".to_vec()));
            client.send(rest);
            assert_eq!(client.frame(), (0x81, b"the last, in two halves".to_vec()));
            drop(client);
            let shard = home_of(key, SHARDS);
            assert_eq!(server.told(), Told::Open { shard, key });
            let session = format!("s{key}");
            assert_eq!(server.told(), Told::Close { shard, key, session, reason: CloseReason::HungUp });
        }
        let stats = server.engine.stats();
        assert_eq!(stats.iter().map(|one| one.shard).collect::<Vec<_>>(), [0, 1, 2, 3]);
        let handed: u64 = stats.iter().map(|one| one.handed_over).sum();
        assert_eq!(handed, stats.iter().map(|one| one.handed_in).sum::<u64>());
        assert!(handed > 0, "60 connections on {SHARDS} shards: some must have moved");
    });
}

#[test]
fn all_devices_of_a_key_get_what_is_sent_to_it() {
    on_each_driver(&Config { shards: SHARDS, ..config() }, |server| {
        let mut devices: Vec<_> = (0..8).map(|_| server.join_plain(5, &[])).collect();
        let mut stranger = server.join_plain(6, &[]);
        server.until(|stats| stats.ws_connections, 9);
        server.mailboxes().home(5).post(Post::ToKey(5, "for five".to_owned()), 8).expect("room");
        for device in &mut devices {
            assert_eq!(device.frame(), (0x81, b"for five".to_vec()));
        }
        stranger.send(&frame(0x81, b"nothing came before"));
        assert_eq!(stranger.frame(), (0x81, b"nothing came before".to_vec()));
        devices[0].send(&frame(0x81, b"key 5 from a device"));
        for device in &mut devices {
            assert_eq!(device.frame(), (0x81, b"from a device".to_vec()));
        }
    });
}
