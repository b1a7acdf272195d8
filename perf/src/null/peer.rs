//! A connection of the null server: HTTP requests, and after an upgrade frames.

use std::io::{self, Read, Write};

use mio::net::TcpStream;
use tungstenite::handshake::derive_accept_key;
use tungstenite::protocol::{Role, WebSocketConfig};
use tungstenite::{Error, Message, WebSocket};

use super::book::{Book, Place};

/// Heads and bodies of this tool's own requests are far smaller.
const REQUEST_BYTES_MAX: usize = 64 * 1024;
const HEADERS_MAX: usize = 64;
const READ_BUFFER_BYTES: usize = 4096;
/// What a client does not take in time ends its connection.
const WRITE_BUFFER_BYTES_MAX: usize = 64 << 20;

pub(super) enum Peer {
    /// Nothing but HTTP so far; what has come of a request.
    Http(TcpStream, Vec<u8>),
    /// `None`: without a token, so everything is said back.
    Open(Box<WebSocket<TcpStream>>, Option<u64>),
    /// Between two ages.
    Gone,
}

/// Frames of one turn, with their receivers.
pub(super) type Out = Vec<(Place, Message)>;

/// A request that is whole.
struct Request {
    path: String,
    /// Of an upgrade.
    key: Option<String>,
    token: Option<String>,
    bytes: usize,
}

impl Peer {
    /// Reads all that is there. False: the connection is over.
    pub(super) fn read(&mut self, place: Place, book: &mut Book, out: &mut Out) -> bool {
        if let Peer::Http(stream, came) = self {
            if !fill(stream, came) {
                return false;
            }
            match answer_all(stream, came, book) {
                Err(_) => return false,
                Ok(None) => return true,
                Ok(Some(token)) => self.open(token, place, book, out),
            }
        }
        let Peer::Open(socket, user) = self else { return false };
        let mut answers = Vec::new();
        loop {
            match socket.read() {
                Ok(Message::Text(text)) => match user {
                    Some(user) => book.hear(*user, place, text.as_str(), &mut answers),
                    None => out.push((place, Message::Text(text))),
                },
                Ok(Message::Binary(bytes)) => out.push((place, Message::Binary(bytes))),
                Ok(_) => {}
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(_) => return false,
            }
        }
        out.extend(answers.into_iter().map(|(place, text)| (place, Message::text(text))));
        true
    }

    /// The upgrade was answered; bytes after it are frames.
    fn open(&mut self, token: Option<String>, place: Place, book: &mut Book, out: &mut Out) {
        let Peer::Http(stream, came) = std::mem::replace(self, Peer::Gone) else { return };
        let config = WebSocketConfig::default()
            .read_buffer_size(READ_BUFFER_BYTES)
            .max_write_buffer_size(WRITE_BUFFER_BYTES_MAX);
        let socket = WebSocket::from_partially_read(stream, came, Role::Server, Some(config));
        let user = token.and_then(|token| token.strip_prefix("null-")?.parse().ok());
        if let Some(user) = user {
            out.push((place, Message::text(book.came(user, place))));
        }
        *self = Peer::Open(Box::new(socket), user);
    }

    /// Queues a frame. False: the connection is over.
    pub(super) fn write(&mut self, message: Message) -> bool {
        let Peer::Open(socket, _) = self else { return false };
        is_alive(socket.write(message))
    }

    /// Writes what the kernel takes. False: the connection is over.
    pub(super) fn flush(&mut self) -> bool {
        let Peer::Open(socket, _) = self else { return true };
        is_alive(socket.flush())
    }

    pub(super) fn end(&self, place: Place, book: &mut Book) {
        if let Peer::Open(_, Some(user)) = self {
            book.went(*user, place);
        }
    }
}

fn is_alive(result: Result<(), Error>) -> bool {
    match result {
        Ok(()) => true,
        Err(Error::Io(error)) => error.kind() == io::ErrorKind::WouldBlock,
        Err(_) => false,
    }
}

/// False: closed, or too much.
fn fill(stream: &mut TcpStream, came: &mut Vec<u8>) -> bool {
    let mut buffer = [0; READ_BUFFER_BYTES];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return false,
            Ok(read) => came.extend_from_slice(&buffer[..read]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return came.len() < REQUEST_BYTES_MAX,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return false,
        }
    }
}

/// Answers every whole request in `came`, up to an upgrade, whose token it gives.
#[allow(clippy::option_option, reason = "no upgrade, an upgrade without a token, one with it")]
fn answer_all(
    stream: &mut TcpStream,
    came: &mut Vec<u8>,
    book: &mut Book,
) -> io::Result<Option<Option<String>>> {
    while let Some(request) = parse(came)? {
        came.drain(..request.bytes);
        if let Some(key) = request.key {
            let accept = derive_accept_key(key.as_bytes());
            write!(
                stream,
                "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: {accept}\r\n\r\n"
            )?;
            return Ok(Some(request.token));
        }
        let (status, body) = match request.path.as_str() {
            "/api/auth/register" => ("201 Created", "{}".to_owned()),
            "/api/auth/login" => {
                let user = book.log_in();
                let words = format!(r#"{{"userId":"{user}","deviceId":"null","accessToken":"null-{user}"}}"#);
                ("200 OK", words)
            }
            _ => ("404 Not Found", "{}".to_owned()),
        };
        write!(
            stream,
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
    }
    Ok(None)
}

/// The first request, when all of it is there.
fn parse(came: &[u8]) -> io::Result<Option<Request>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = request.parse(came).map_err(io::Error::other)? else {
        return Ok(None);
    };
    let header = |name: &str| {
        let found = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name))?;
        std::str::from_utf8(found.value).ok()
    };
    let body = header("content-length").and_then(|length| length.parse::<usize>().ok()).unwrap_or(0);
    let bytes = head.saturating_add(body);
    let whole = Request {
        path: request.path.unwrap_or_default().to_owned(),
        key: header("sec-websocket-key").map(str::to_owned),
        token: header("authorization").and_then(|value| value.strip_prefix("Bearer ")).map(str::to_owned),
        bytes,
    };
    Ok((came.len() >= bytes).then_some(whole))
}
