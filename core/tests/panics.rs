//! Promise: a panic in the app costs the connection that it was called for, is counted, and leaves nothing behind.
//!
//! Method: an app that panics when told to, and clients that watch.

mod rig;

use gochat_core::CloseReason;
use rig::{Post, Told, config, frame, on_each_driver, text};
use std::io::Write;
use tungstenite::Message;

#[test]
fn a_panic_costs_one_connection() {
    on_each_driver(&config(), |server| {
        let mut bystander = server.join(1);
        let mut victim = server.join_plain(2, &frame(0x81, b"panic"));
        assert_eq!(victim.close_code(), 1011);
        victim.send(&frame(0x88, &1011u16.to_be_bytes()));
        assert_eq!(victim.rest(), b"");
        assert_eq!(server.closed(), CloseReason::Panic);

        let mut request = server.connect();
        request.write_all(b"GET /panic HTTP/1.1\r\nHost: a\r\n\r\n").expect("written");
        let mut request = rig::Plain { stream: request };
        assert!(request.head().starts_with("HTTP/1.1 500 "));
        assert_eq!(request.rest(), b"");

        server.mailboxes().shard(0).post(Post::Panic, 1).expect("room");
        server.mailboxes().shard(0).post(Post::Number(7), 1).expect("room");
        assert_eq!(server.told(), Told::Mail(7));

        bystander.send(Message::text("unharmed")).expect("sent");
        assert_eq!(text(&mut bystander), "unharmed");
        drop(request);
        server.until(|stats| stats.http_connections, 0);
        assert_eq!(server.sum(|stats| stats.panics), 3);
        assert_eq!(server.sum(|stats| stats.ws_connections), 1);
        assert_eq!(server.sum(|stats| stats.keys), 1);
    });
}
