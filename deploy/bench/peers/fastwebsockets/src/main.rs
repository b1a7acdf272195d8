//! fastwebsockets as a plain server: `peer-fastwebsockets PORT`.
//!
//! Tuned: one thread; no Nagle; the handshake without hyper, in a task that ends, so that the library reads from the
//! socket itself; what it writes is gathered and leaves when it wants to read again, so that pipelined echoes leave
//! in one write; and a broadcast is encoded once.

#![forbid(unsafe_code)]

mod handshake;
mod stream;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use fastwebsockets::{FragmentCollector, Frame, OpCode, Role, WebSocket, WebSocketError};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

use handshake::Route;
use stream::Gathering;

/// A receiver of broadcasts that is so many messages behind is closed.
const INBOX_MESSAGES_MAX: usize = 4096;

/// Those who receive broadcasts. The mutex is never contended: there is one thread.
type Hub = Arc<Mutex<Vec<mpsc::Sender<Bytes>>>>;

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let Some(port) = port else {
        eprintln!("usage: peer-fastwebsockets PORT");
        std::process::exit(2);
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    runtime.block_on(async {
        let listener = TcpListener::bind(("127.0.0.1", port)).await?;
        println!("ready");
        let hub = Hub::default();
        loop {
            // A failed accept is a client that gave up.
            let Ok((stream, _)) = listener.accept().await else { continue };
            tokio::spawn(greet(stream, hub.clone()));
        }
    })
}

async fn greet(mut stream: TcpStream, hub: Hub) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    match handshake::accept(&mut stream).await {
        // Unconstrained, as in the library's own example: tokio's budget costs a little, and one read is all that a
        // turn takes here.
        Ok((Route::Echo, early)) => {
            let stream = Gathering::new(stream, early, None);
            tokio::spawn(tokio::task::unconstrained(echo(stream)));
        }
        Ok((Route::Broadcast, early)) => {
            let (own, inbox) = mpsc::channel(INBOX_MESSAGES_MAX);
            hub.lock().expect("no thread panics").push(own);
            tokio::spawn(broadcast(Gathering::new(stream, early, Some(inbox)), hub));
        }
        Err(_) => {}
    }
}

async fn echo(stream: Gathering) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => {
                socket.write_frame(Frame::new(true, frame.opcode, None, frame.payload)).await?;
            }
            OpCode::Close => return say_goodbye(socket).await,
            _ => {}
        }
    }
}

/// What others say comes by the stream, whenever this reads.
async fn broadcast(stream: Gathering, hub: Hub) -> Result<(), WebSocketError> {
    let mut socket = FragmentCollector::new(WebSocket::after_handshake(stream, Role::Server));
    loop {
        let frame = socket.read_frame().await?;
        match frame.opcode {
            OpCode::Text | OpCode::Binary => {
                let mut encoded = Vec::new();
                let length = Frame::new(true, frame.opcode, None, frame.payload).write(&mut encoded).len();
                encoded.truncate(length);
                let encoded = Bytes::from(encoded);
                // Whoever is gone or too far behind is forgotten.
                hub.lock().expect("no thread panics").retain(|inbox| inbox.try_send(encoded.clone()).is_ok());
            }
            OpCode::Close => return say_goodbye(socket).await,
            _ => {}
        }
    }
}

/// The library has answered the close frame; the answer still waits in the stream.
async fn say_goodbye(socket: FragmentCollector<Gathering>) -> Result<(), WebSocketError> {
    Ok(tokio::io::AsyncWriteExt::flush(&mut socket.into_inner()).await?)
}
