//! The server's side of the opening handshake.

use std::io::{Error, ErrorKind, Result};

use base64::Engine;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const HEAD_BYTES_MAX: usize = 8192;
const HEADERS_MAX: usize = 32;

pub(crate) enum Route {
    Echo,
    Broadcast,
}

/// What was asked for, and what has come behind the head already.
///
/// # Errors
/// It is no upgrade to a WebSocket of ours (which was answered), or the client is gone.
pub(crate) async fn accept(stream: &mut TcpStream) -> Result<(Route, Vec<u8>)> {
    let mut head = Vec::with_capacity(512);
    loop {
        if stream.read_buf(&mut head).await? == 0 || head.len() > HEAD_BYTES_MAX {
            return Err(ErrorKind::InvalidData.into());
        }
        let Some((end, asked)) = parse(&head)? else { continue };
        let Some((route, key)) = asked else {
            stream
                .write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
                .await?;
            return Err(ErrorKind::InvalidData.into());
        };
        let answer = format!(
            "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Accept: {key}\r\n\r\n"
        );
        stream.write_all(answer.as_bytes()).await?;
        return Ok((route, head.split_off(end)));
    }
}

/// Where the head ends, and what it asks for with the accept key of the answer. `None`: not all of it is there.
#[expect(clippy::type_complexity, reason = "one caller")]
fn parse(bytes: &[u8]) -> Result<Option<(usize, Option<(Route, String)>)>> {
    let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
    let mut request = httparse::Request::new(&mut headers);
    let status = request.parse(bytes).map_err(|error| Error::new(ErrorKind::InvalidData, error))?;
    let httparse::Status::Complete(end) = status else { return Ok(None) };
    let value = |name: &str| {
        let header = request.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
        header.and_then(|header| std::str::from_utf8(header.value).ok()).unwrap_or("")
    };
    let names =
        |name: &str, token: &str| value(name).split(',').any(|part| part.trim().eq_ignore_ascii_case(token));
    let route = match request.path {
        Some("/") => Some(Route::Echo),
        Some("/broadcast") => Some(Route::Broadcast),
        _ => None,
    };
    let key = value("sec-websocket-key");
    let is_upgrade = request.method == Some("GET")
        && names("upgrade", "websocket")
        && names("connection", "upgrade")
        && value("sec-websocket-version") == "13"
        && !key.is_empty();
    Ok(Some((end, route.filter(|_| is_upgrade).map(|route| (route, accept_key(key))))))
}

fn accept_key(key: &str) -> String {
    let mut hash = sha1_smol::Sha1::from(key);
    hash.update(b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11");
    base64::engine::general_purpose::STANDARD.encode(hash.digest().bytes())
}
