//! One non-blocking WebSocket: connect, handshake, frames in, frames out, all without waiting.

use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Interest, Registry, Token};
use socket2::{Domain, Protocol, SockAddr, SockRef, Socket as RawSocket, Type};
use tungstenite::client::{ClientRequestBuilder, client_with_config};
use tungstenite::handshake::client::Response;
use tungstenite::handshake::{HandshakeError, MidHandshake};
use tungstenite::protocol::WebSocketConfig;
use tungstenite::{Bytes, ClientHandshake, Error, Message, WebSocket};

use crate::config::{Share, Target};

/// The read buffer is allocated with the connection: 15,000 sessions must fit.
const READ_BUFFER_BYTES: usize = 4096;
/// A turn's frames go out in one write up to this.
const WRITE_BUFFER_BYTES: usize = 16 * 1024;
/// What the kernel does not take. A client has a bounded window on the wire, so this is never reached by sends.
const WRITE_BUFFER_BYTES_MAX: usize = 1 << 20;

type Handshaking = MidHandshake<ClientHandshake<TcpStream>>;

/// A connection in one of its ages.
pub(crate) enum Socket {
    Connecting(TcpStream),
    Handshaking(Box<Handshaking>),
    Open(Box<WebSocket<TcpStream>>),
}

/// What a turn of the socket ended with.
pub(crate) enum Step {
    /// Not there yet.
    Waiting(Socket),
    /// The handshake is done; frames may be there already.
    Opened(Socket),
    /// The server answered the upgrade with another status.
    Refused {
        /// What its `Retry-After` says.
        retry_after_s: Option<u64>,
        why: String,
    },
    Failed(String),
}

/// Begins to connect; the poll tells when to go on.
///
/// # Errors
/// No descriptor, no port: the machine's, not the server's.
pub(crate) fn connect(
    target: &Target,
    source: Option<Ipv4Addr>,
    registry: &Registry,
    token: Token,
) -> io::Result<Socket> {
    let mut stream = dial(target, source)?;
    registry.register(&mut stream, token, Interest::READABLE | Interest::WRITABLE)?;
    Ok(Socket::Connecting(stream))
}

/// Begins to connect.
///
/// # Errors
/// As [`connect`].
pub(crate) fn dial(target: &Target, source: Option<Ipv4Addr>) -> io::Result<TcpStream> {
    let raw = RawSocket::new(Domain::for_address(target.addr), Type::STREAM, Some(Protocol::TCP))?;
    raw.set_nonblocking(true)?;
    raw.set_tcp_nodelay(true)?;
    if let Some(source) = source {
        raw.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
    }
    match raw.connect(&SockAddr::from(target.addr)) {
        Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from_std(raw.into())),
    }
}

/// Linux, all architectures that we build for.
const EINPROGRESS: i32 = 115;

/// A loopback server is reached from many source addresses, for each has only some 28,000 ports.
pub(crate) fn source_for(target: &Target, client: usize) -> Option<Ipv4Addr> {
    source_of_part(target, client, Share::WHOLE)
}

/// As [`source_for`]; of 127.0.1 to 127.0.200 each part of a load has its own.
pub(crate) fn source_of_part(target: &Target, client: usize, share: Share) -> Option<Ipv4Addr> {
    let is_loopback = matches!(target.addr.ip(), IpAddr::V4(ip) if ip.is_loopback());
    let nets = (200 / share.parts).max(1);
    let net = share.part * nets % 200 + client / 200 % nets;
    is_loopback.then(|| Ipv4Addr::new(127, 0, 1 + net as u8, 1 + (client % 200) as u8))
}

/// Goes on with a connect or a handshake as far as it gets without waiting.
pub(crate) fn advance(socket: Socket, target: &Target, path: &str, token: Option<&str>) -> Step {
    match socket {
        Socket::Connecting(stream) => begin_handshake(stream, target, path, token),
        Socket::Handshaking(mid) => after_handshake(mid.handshake()),
        open @ Socket::Open(_) => Step::Waiting(open),
    }
}

fn begin_handshake(stream: TcpStream, target: &Target, path: &str, token: Option<&str>) -> Step {
    match stream.take_error() {
        Ok(None) => {}
        Ok(Some(error)) | Err(error) => return Step::Failed(format!("connect: {error}")),
    }
    match stream.peer_addr() {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotConnected => {
            return Step::Waiting(Socket::Connecting(stream));
        }
        Err(error) => return Step::Failed(format!("connect: {error}")),
    }
    let uri = match format!("ws://{}{path}", target.host).parse() {
        Ok(uri) => uri,
        Err(error) => return Step::Failed(format!("no URI: {error}")),
    };
    let mut request = ClientRequestBuilder::new(uri);
    if let Some(token) = token {
        request = request.with_header("Authorization", format!("Bearer {token}"));
    }
    let config = WebSocketConfig::default()
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX)
        .max_message_size(Some(4 << 20))
        .max_frame_size(Some(4 << 20));
    after_handshake(client_with_config(request, stream, Some(config)))
}

type HandshakeResult = Result<(WebSocket<TcpStream>, Response), HandshakeError<ClientHandshake<TcpStream>>>;

fn after_handshake(result: HandshakeResult) -> Step {
    match result {
        Ok((socket, _)) => Step::Opened(Socket::Open(Box::new(socket))),
        Err(HandshakeError::Interrupted(mid)) => Step::Waiting(Socket::Handshaking(Box::new(mid))),
        Err(HandshakeError::Failure(Error::Http(response))) => {
            let retry_after = response.headers().get("retry-after").and_then(|value| value.to_str().ok());
            let body = response.body().as_deref().map(String::from_utf8_lossy).unwrap_or_default();
            Step::Refused {
                retry_after_s: retry_after.and_then(|value| value.trim().parse().ok()),
                why: format!("upgrade answered with {}: {body:.200}", response.status()),
            }
        }
        Err(HandshakeError::Failure(error)) => Step::Failed(format!("handshake: {error}")),
    }
}

/// Bounds what the kernel takes in for a connection that has just begun.
pub(crate) fn narrow(socket: &Socket, bytes: usize) {
    if let Socket::Connecting(stream) = socket {
        // Where it can't be set, more piles up in the kernel before the server notices.
        let _ = SockRef::from(stream).set_recv_buffer_size(bytes);
    }
}

/// Ends an open connection as a lost network does: without a word, and with a reset for whatever comes later.
pub(crate) fn cut(socket: &WebSocket<TcpStream>) {
    reset_at_close(socket.get_ref());
}

/// The close of this socket will be a reset, which leaves nothing behind at either end.
pub(crate) fn reset_at_close(stream: &TcpStream) {
    // Where the option can't be set the close is an orderly one, which the server notices just as well.
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
}

/// What a read brought.
pub(crate) enum Received {
    Frame(Message),
    /// All that was there is read.
    Drained,
    Closed(String),
}

pub(crate) fn receive(socket: &mut WebSocket<TcpStream>) -> Received {
    match socket.read() {
        Ok(message) => Received::Frame(message),
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Received::Drained,
        Err(error) => Received::Closed(error.to_string()),
    }
}

/// Queues frames and writes what the kernel takes; the rest goes when the socket is writable again.
pub(crate) fn send(
    socket: &mut WebSocket<TcpStream>,
    frames: impl Iterator<Item = String>,
) -> Result<(), String> {
    for frame in frames {
        match socket.write(Message::text(frame)) {
            Ok(()) => {}
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.to_string()),
        }
    }
    flush(socket)
}

/// Asks for a pong.
pub(crate) fn ping(socket: &mut WebSocket<TcpStream>) -> Result<(), String> {
    match socket.write(Message::Ping(Bytes::new())) {
        Ok(()) => flush(socket),
        Err(error) => Err(error.to_string()),
    }
}

pub(crate) fn flush(socket: &mut WebSocket<TcpStream>) -> Result<(), String> {
    match socket.flush() {
        Ok(()) => Ok(()),
        Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => Ok(()),
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_part_of_a_load_has_its_own_source_addresses() {
        let target = Target::parse("127.0.0.1:9").unwrap();
        assert_eq!(source_for(&target, 0), Some(Ipv4Addr::new(127, 0, 1, 1)));
        assert_eq!(source_for(&target, 40_399), Some(Ipv4Addr::new(127, 0, 2, 200)), "round again");
        for parts in [2, 3, 100] {
            let nets_of = |part| -> std::collections::BTreeSet<u8> {
                let sources =
                    (0..18_000).map(|client| source_of_part(&target, client, Share { part, parts }).unwrap());
                sources.map(|source| source.octets()[2]).collect()
            };
            let all: Vec<u8> = (0..parts).flat_map(nets_of).collect();
            let different: std::collections::BTreeSet<u8> = all.iter().copied().collect();
            assert_eq!(all.len(), different.len(), "{parts} parts");
            assert!(different.iter().all(|net| (1..=200).contains(net)));
        }
        assert_eq!(source_for(&Target::parse("192.0.2.1:9").unwrap(), 0), None);
    }
}
