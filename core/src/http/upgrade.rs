//! The opening handshake of a WebSocket (RFC 6455, section 4.2). Pure.

use super::{Request, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appended to the client's key before it is hashed (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The 101 answer to a proper upgrade.
///
/// # Errors
/// The answer to one that is not: 426 when no WebSocket, or none of version 13, was asked for, else 400.
pub(crate) fn accept(request: &Request<'_>, protocol: Option<&str>) -> Result<Vec<u8>, Response> {
    let required = || Response::new(426).header("upgrade", "websocket").header("sec-websocket-version", "13");
    if !request.is_upgrade() {
        return Err(required());
    }
    if request.method != "GET" || !request.http_1_1 {
        return Err(Response::new(400));
    }
    match request.header("sec-websocket-version") {
        Some("13") => {}
        Some(_) => return Err(required()),
        None => return Err(Response::new(400).header("sec-websocket-version", "13")),
    }
    let mut keys = request.headers("sec-websocket-key");
    let (Some(key), None) = (keys.next(), keys.next()) else { return Err(Response::new(400)) };
    if STANDARD.decode(key).map_or(0, |nonce| nonce.len()) != 16 {
        return Err(Response::new(400));
    }
    let mut answer = format!(
        "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {}\r\n",
        accept_key(key)
    );
    // What is no token would let an app split the answer.
    if let Some(protocol) = protocol.filter(|protocol| protocol.bytes().all(|byte| byte.is_ascii_graphic())) {
        answer.push_str("sec-websocket-protocol: ");
        answer.push_str(protocol);
        answer.push_str("\r\n");
    }
    answer.push_str("\r\n");
    Ok(answer.into_bytes())
}

fn accept_key(key: &str) -> String {
    let mut hash = sha1_smol::Sha1::from(key);
    hash.update(GUID);
    STANDARD.encode(hash.digest().bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::http::intake::{Intake, Step, with_request};

    fn answer(head: &str, protocol: Option<&str>) -> Result<String, u16> {
        let bytes = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        let Step::Whole(head) = Intake::default().step(bytes.as_bytes(), &Config::default()) else {
            panic!("not a request: {bytes}")
        };
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let answer = with_request(bytes.as_bytes(), &head, peer, |request| accept(request, protocol));
        let answer = answer.expect("a request");
        answer.map(|bytes| String::from_utf8(bytes).expect("ascii")).map_err(|response| response.status)
    }

    const GOOD: &str = "GET /ws HTTP/1.1\nHost: a\nConnection: keep-alive, Upgrade\nUpgrade: websocket\n\
                        Sec-WebSocket-Version: 13\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==";

    #[test]
    fn the_example_of_the_rfc_is_answered() {
        let answer = answer(GOOD, Some("chat.v1")).expect("an upgrade");
        assert!(answer.contains("sec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"), "{answer}");
        assert!(answer.ends_with("sec-websocket-protocol: chat.v1\r\n\r\n"), "{answer}");
    }

    #[test]
    fn what_is_no_upgrade_is_refused() {
        let check = |from: &str, to: &str, expect: u16| {
            assert_eq!(answer(&GOOD.replace(from, to), None), Err(expect), "{from} → {to}");
        };
        check("Upgrade: websocket", "Upgrade: h2c", 426);
        check("keep-alive, Upgrade", "keep-alive", 426);
        check("Version: 13", "Version: 8", 426);
        check("Sec-WebSocket-Version: 13", "X: y", 400);
        check("GET", "POST", 400);
        check("HTTP/1.1", "HTTP/1.0", 400);
        check("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", 400);
        check("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all!!!!!==", 400);
        check("Sec-WebSocket-Key", "X-Key", 400);
    }
}
