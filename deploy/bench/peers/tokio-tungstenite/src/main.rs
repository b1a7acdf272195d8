//! tokio-tungstenite as a plain server: `peer-tokio-tungstenite PORT`.
//!
//! Tuned: one thread; no Nagle; read buffers of 4 KiB instead of 128, as its documentation advises for many connections;
//! the handshake in a task that ends, so that what stays for a connection is small; all messages that have come are
//! taken before one flush, so that pipelined echoes leave in one write; and a broadcast shares one payload.

#![forbid(unsafe_code)]

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Poll, ready};

use futures_util::{Sink, Stream};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_tungstenite::tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;
use tokio_tungstenite::tungstenite::{Error, Message};
use tokio_tungstenite::{WebSocketStream, accept_hdr_async_with_config};

const READ_BUFFER_BYTES: usize = 4096;
/// What is written without waiting for the flush.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// A receiver of broadcasts that is so many messages behind is closed.
const INBOX_MESSAGES_MAX: usize = 4096;

type Socket = WebSocketStream<TcpStream>;

/// Those who receive broadcasts. The mutex is never contended: there is one thread.
type Hub = Arc<Mutex<Vec<mpsc::Sender<Message>>>>;

fn main() -> std::io::Result<()> {
    let port = std::env::args().nth(1).and_then(|port| port.parse::<u16>().ok());
    let Some(port) = port else {
        eprintln!("usage: peer-tokio-tungstenite PORT");
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

async fn greet(stream: TcpStream, hub: Hub) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let mut is_broadcast = false;
    #[expect(clippy::result_large_err, reason = "the library's signature")]
    let route = |request: &Request, response: Response| match request.uri().path() {
        "/" => Ok(response),
        "/broadcast" => {
            is_broadcast = true;
            Ok(response)
        }
        _ => Err(not_found()),
    };
    let config =
        WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES).write_buffer_size(WRITE_BUFFER_BYTES);
    match accept_hdr_async_with_config(stream, route, Some(config)).await {
        Ok(socket) if is_broadcast => drop(tokio::spawn(broadcast(socket, hub))),
        Ok(socket) => drop(tokio::spawn(echo(socket))),
        Err(_) => {}
    }
}

fn not_found() -> ErrorResponse {
    let mut response = ErrorResponse::new(None);
    *response.status_mut() = tokio_tungstenite::tungstenite::http::StatusCode::NOT_FOUND;
    response
}

async fn echo(mut socket: Socket) -> Result<(), Error> {
    poll_fn(|cx| {
        loop {
            // Who does not read is not read from.
            ready!(Pin::new(&mut socket).poll_ready(cx))?;
            match Pin::new(&mut socket).poll_next(cx)? {
                Poll::Ready(Some(message)) if message.is_text() || message.is_binary() => {
                    Pin::new(&mut socket).start_send(message)?;
                }
                Poll::Ready(Some(_)) => {}
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => {
                    ready!(Pin::new(&mut socket).poll_flush(cx))?;
                    return Poll::Pending;
                }
            }
        }
    })
    .await
}

async fn broadcast(mut socket: Socket, hub: Hub) -> Result<(), Error> {
    let (own, mut inbox) = mpsc::channel(INBOX_MESSAGES_MAX);
    hub.lock().expect("no thread panics").push(own);
    poll_fn(|cx| {
        while let Poll::Ready(message) = Pin::new(&mut socket).poll_next(cx)? {
            match message {
                Some(message) if message.is_text() || message.is_binary() => tell_all(&hub, &message),
                Some(_) => {}
                None => return Poll::Ready(Ok(())),
            }
        }
        while Pin::new(&mut socket).poll_ready(cx)?.is_ready() {
            match inbox.poll_recv(cx) {
                Poll::Ready(Some(message)) => Pin::new(&mut socket).start_send(message)?,
                // Too far behind.
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => break,
            }
        }
        ready!(Pin::new(&mut socket).poll_flush(cx))?;
        Poll::Pending
    })
    .await
}

/// The payload is shared. Whoever is gone or too far behind is forgotten.
fn tell_all(hub: &Hub, message: &Message) {
    hub.lock().expect("no thread panics").retain(|inbox| inbox.try_send(message.clone()).is_ok());
}
