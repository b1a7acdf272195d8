//! Promise: no test hangs: what it waits for in vain ends it with a sentence that says what that was and what came instead.
//! And what one wait passes over the next one finds. Method: a server of the test's own that talks without an end and never says
//! what is waited for, or says nothing.
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::{Command, Stdio};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use tungstenite::{Message, WebSocket};

use crate::harness::Client;

/// The least that shows an end: long enough for some frames to come.
const PATIENCE: Duration = Duration::from_millis(300);

/// A client, and a server that does with its socket what the test wants; it is told when the other thing returned is dropped.
fn client_of(
    server: impl FnOnce(WebSocket<TcpStream>, Receiver<()>) + Send + 'static,
) -> (Client, Sender<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let addr = listener.local_addr().expect("an address");
    let (guard, gone) = channel();
    std::thread::spawn(move || {
        let (stream, _) = listener.accept().expect("the client");
        server(tungstenite::accept(stream).expect("an upgrade"), gone);
    });
    let stream = TcpStream::connect(addr).expect("the server listens");
    let (socket, _) = tungstenite::client(format!("ws://{addr}/"), stream).expect("an upgrade");
    (Client::new(socket, PATIENCE), guard)
}

/// The sentence that a wait ends with.
fn failure<T>(wait: impl FnOnce() -> T) -> String {
    let payload = catch_unwind(AssertUnwindSafe(wait)).err().expect("it was in vain");
    payload.downcast_ref::<String>().expect("a sentence").clone()
}

#[test]
fn talk_without_end_is_no_reason_to_wait_on() {
    let talk = |mut socket: WebSocket<TcpStream>, _gone: Receiver<()>| {
        for n in 0_u64.. {
            let frame = format!(r#"{{"type":"new-message","data":{{"seqId":{n}}}}}"#);
            if socket.send(Message::Ping(Vec::new().into())).is_err()
                || socket.send(Message::text(frame)).is_err()
            {
                return;
            }
        }
    };
    let (mut client, _guard) = client_of(talk);
    let said = failure(|| client.wait_for("new-message", |data| data["seqId"] == -1));
    for part in
        ["a new-message as the test wants it", "in vain", "others came instead", "Ping", r#"{"seqId":"#]
    {
        assert!(said.contains(part), "{part} in {said}");
    }
    let said = failure(|| client.wait_for_close());
    assert!(said.contains("the end of the connection") && said.contains("seqId"), "{said}");
}

/// Nothing more comes: the client must have kept what it did not take.
#[test]
fn what_one_wait_passes_over_is_there_for_the_next() {
    let (mut client, _guard) = client_of(|mut socket, gone| {
        for (kind, n) in
            [("new-message", 1), ("receipt", 2), ("new-message", 3), ("heads", 4), ("receipt", 5)]
        {
            let frame = format!(r#"{{"type":"{kind}","data":{{"n":{n}}}}}"#);
            socket.send(Message::text(frame)).expect("the client reads");
        }
        gone.recv().unwrap_or_default();
    });
    assert_eq!(client.wait_for("heads", |_| true)["n"], 4);
    assert_eq!(client.wait_for("new-message", |data| data["n"] == 3)["n"], 3);
    assert_eq!(client.next()["data"]["n"], 1, "the oldest");
    assert_eq!(client.wait_for("receipt", |_| true)["n"], 2, "the older of two");
    let said = failure(|| client.wait_for("new-message", |_| true));
    assert!(said.contains("in vain; 1 others"), "all others are taken: {said}");
    assert_eq!(client.try_next().expect("it is kept")["data"]["n"], 5, "what came last is still there");
    let said = failure(|| client.next());
    assert!(said.contains("in vain; 0 others"), "{said}");
}

#[test]
fn silence_and_a_close_are_told_apart() {
    let (mut silent, _guard) = client_of(|_socket, gone| gone.recv().unwrap_or_default());
    for said in [failure(|| silent.next()), failure(|| silent.try_next().is_some())] {
        assert!(said.contains("in vain; 0 others"), "{said}");
    }
    let (mut closed, _guard) = client_of(|mut socket, _gone| {
        socket.close(None).expect("a close");
        while socket.read().is_ok() {}
    });
    let said = failure(|| closed.next());
    assert!(said.contains("the server closed"), "{said}");
}

#[test]
fn a_process_that_does_not_end_is_ended() {
    let mut child =
        Command::new("cat").stdin(Stdio::piped()).stdout(Stdio::null()).spawn().expect("cat runs");
    let said = failure(|| crate::harness::ends_within(&mut child, "cat", PATIENCE));
    assert!(said.contains("cat did not end"), "{said}");
    assert!(!child.wait().expect("it can be waited for").success(), "it was killed");
}
