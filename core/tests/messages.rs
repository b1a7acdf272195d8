//! Promise: whatever a client says in proper frames reaches the app whole and in order, and comes back.
//!
//! Method: an independent client (tungstenite) and hand-made frames, against both drivers.

mod rig;

use rig::{config, on_each_driver, text};
use tungstenite::Message;

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
        assert!(matches!(client.read(), Ok(Message::Close(_))));
        assert!(client.read().is_err());
    });
}
