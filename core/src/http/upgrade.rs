//! The opening handshake of a WebSocket (RFC 6455, section 4.2). Pure.

use super::{Request, RequestRefused, Response};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// Appended to the client's key before it is hashed (section 1.3).
const GUID: &[u8] = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11";

/// The 101 answer to a proper upgrade.
///
/// # Errors
/// What is wrong with one that is not, and the answer to it: 426 when no WebSocket, or none of version 13, was asked for,
/// else 400.
pub(crate) fn accept(
    request: &Request<'_>,
    protocol: Option<&str>,
) -> Result<Vec<u8>, (RequestRefused, Response)> {
    let refused = |why: RequestRefused| {
        let answer = Response::new(why.status());
        let told = answer.status == 426;
        (why, if told { with_version(answer.header("upgrade", "websocket")) } else { answer })
    };
    if !request.is_upgrade() {
        return Err(refused(RequestRefused::NotWebSocket));
    }
    if request.method != "GET" || !request.http_1_1 {
        return Err(refused(RequestRefused::UpgradeMethod));
    }
    match request.header("sec-websocket-version") {
        Some("13") => {}
        Some(_) => return Err(refused(RequestRefused::UpgradeVersion)),
        None => return Err((RequestRefused::UpgradeVersion, with_version(Response::new(400)))),
    }
    let mut keys = request.headers("sec-websocket-key");
    let key = keys.next().filter(|key| STANDARD.decode(key).is_ok_and(|nonce| nonce.len() == 16));
    let (Some(key), None) = (key, keys.next()) else { return Err(refused(RequestRefused::UpgradeKey)) };
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

fn with_version(answer: Response) -> Response {
    answer.header("sec-websocket-version", "13")
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

    fn answer(head: &str, protocol: Option<&str>) -> Result<String, (RequestRefused, u16)> {
        let bytes = format!("{}\r\n\r\n", head.replace('\n', "\r\n"));
        let Step::Whole(head) = Intake::default().step(bytes.as_bytes(), &Config::default()) else {
            panic!("not a request: {bytes}")
        };
        let peer = std::net::SocketAddr::from(([127, 0, 0, 1], 1));
        let answer =
            with_request(bytes.as_bytes(), &head, peer, peer.ip(), |request| accept(request, protocol));
        let answer = answer.expect("a request");
        answer
            .map(|bytes| String::from_utf8(bytes).expect("ascii"))
            .map_err(|(why, response)| (why, response.status))
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
        use RequestRefused::*;
        let check = |from: &str, to: &str, expect: RequestRefused, status: u16| {
            let refused = Err((expect, status));
            assert_eq!(answer(&GOOD.replace(from, to), None), refused, "{from} → {to}");
        };
        check("Upgrade: websocket", "Upgrade: h2c", NotWebSocket, 426);
        check("keep-alive, Upgrade", "keep-alive", NotWebSocket, 426);
        check("Version: 13", "Version: 8", UpgradeVersion, 426);
        check("Sec-WebSocket-Version: 13", "X: y", UpgradeVersion, 400);
        check("GET", "POST", UpgradeMethod, 400);
        check("HTTP/1.1", "HTTP/1.0", UpgradeMethod, 400);
        check("dGhlIHNhbXBsZSBub25jZQ==", "dGhl", UpgradeKey, 400);
        check("dGhlIHNhbXBsZSBub25jZQ==", "not base64 at all!!!!!==", UpgradeKey, 400);
        check("Sec-WebSocket-Key", "X-Key", UpgradeKey, 400);
    }
}
