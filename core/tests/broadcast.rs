//! Promise: what is said at `/broadcast` of the example server reaches everybody there, the sender too, unchanged and in one
//! order, with several shards as with one; echoes stay with their senders.
//!
//! Method: independent clients (tungstenite) against the server of core/examples.

#[allow(dead_code, unreachable_pub, reason = "its main is not called here")]
#[path = "../examples/echo.rs"]
mod echo;

use gochat_core::{Config, Engine};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;
use tungstenite::{Bytes, Message, WebSocket};

const MEMBERS: usize = 7;
const MESSAGES: usize = 200;
/// Nothing here takes this long.
const PATIENCE: Duration = Duration::from_secs(60);

fn join(server: SocketAddr, path: &str) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(server).expect("a connection");
    stream.set_read_timeout(Some(PATIENCE)).expect("an option");
    let mut socket = tungstenite::client(format!("ws://{server}{path}"), stream).expect("an upgrade").0;
    // The upgrade is answered before the connection is on its home shard; a pong comes from there.
    socket.send(Message::Ping(Bytes::new())).expect("sent");
    assert_eq!(socket.read().expect("a pong"), Message::Pong(Bytes::new()));
    socket
}

#[test]
fn everybody_gets_what_anybody_says() {
    for shards in [1, 3] {
        let config = Config { shards, pin_threads: false, ..echo::config() };
        let config = Config { listen: "127.0.0.1:0".parse().expect("an address"), ..config };
        let engine = Engine::start(config, |_| echo::Echo::default()).expect("the engine starts");
        let mut members: Vec<_> = (0..MEMBERS).map(|_| join(engine.local_addr(), "/broadcast")).collect();
        let mut loner = join(engine.local_addr(), "/");
        let said: Vec<_> = (0..MESSAGES).map(|n| Message::text(format!("message {n}"))).collect();
        for message in &said {
            members[1].send(message.clone()).expect("sent");
        }
        for member in &mut members {
            for message in &said {
                assert_eq!(&member.read().expect("a message"), message, "{shards} shards");
            }
        }
        let binary = Message::binary(vec![0xff; 70_000]);
        members[0].send(binary.clone()).expect("sent");
        for member in &mut members {
            assert_eq!(member.read().expect("a message"), binary);
        }
        loner.send(Message::text("to myself")).expect("sent");
        assert_eq!(loner.read().expect("an echo"), Message::text("to myself"), "{shards} shards");
    }
}

#[test]
fn who_left_is_sent_nothing() {
    let engine = Engine::start(Config { pin_threads: false, ..echo::config() }, |_| echo::Echo::default())
        .expect("the engine starts");
    let mut members: Vec<_> = (0..3).map(|_| join(engine.local_addr(), "/broadcast")).collect();
    let mut left = members.remove(1);
    left.close(None).expect("closing");
    while left.read().is_ok() {}
    members[0].send(Message::text("among us")).expect("sent");
    for member in &mut members {
        assert_eq!(member.read().expect("a message"), Message::text("among us"));
    }
    assert_eq!(engine.stats()[0].ws_connections, 2);
}

#[test]
fn a_bare_port_makes_a_server_for_scripts() {
    let parse = |words: &[&str]| echo::Command::parse(words.iter().map(|word| (*word).to_owned()));
    let of = |words: &[&str]| {
        let command = parse(words).expect("a command");
        (command.config.listen.to_string(), command.config.shards, command.is_ended_by_stdin)
    };
    assert_eq!(of(&[]), ("127.0.0.1:9000".to_owned(), 1, true));
    assert_eq!(of(&["9001"]), ("127.0.0.1:9001".to_owned(), 1, false));
    assert_eq!(of(&["0.0.0.0:9001", "2", "epoll"]), ("0.0.0.0:9001".to_owned(), 2, true));
    for wrong in [&["here"] as &[&str], &["70000"], &["1", "many"], &["1", "1", "kqueue"]] {
        assert!(parse(wrong).is_err(), "{wrong:?}");
    }
}
