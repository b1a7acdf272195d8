//! One visit's conversation: bytes in, what to say next out. Pure.

use crate::plain::count::{client_frame, server_frame};

/// What every visit says and has to hear, made ahead.
#[derive(Debug)]
pub(super) struct Script {
    pub(super) request: Vec<u8>,
    pub(super) message: Vec<u8>,
    reply: Vec<u8>,
    /// Whether the visit ends with the closing handshake; else with a reset, at once.
    closes: bool,
}

/// A masked close frame with code 1000.
pub(super) const CLOSE_FRAME: [u8; 8] = [0x88, 0x82, 0, 0, 0, 0, 0x03, 0xe8];

/// The example of RFC 6455, 1.3: a server's answer to this key is known without hashing anything here.
const KEY: &str = "dGhlIHNhbXBsZSBub25jZQ==";
const ACCEPT: &[u8] = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=";

const PING: u8 = 0x89;

const HEAD_BYTES_MAX: usize = 16 * 1024;
const HEADERS_MAX: usize = 64;

impl Script {
    pub(super) fn new(host: &str, path: &str, message_bytes: usize, closes: bool) -> Script {
        let request = format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
        );
        let payload = vec![b'e'; message_bytes];
        Script {
            request: request.into_bytes(),
            message: client_frame(&payload),
            reply: server_frame(&payload),
            closes,
        }
    }
}

/// What a visit waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Awaits {
    Upgrade,
    Echo,
    Close,
    /// The server ends the connection.
    End,
}

/// What to do after some bytes came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    Wait,
    /// The upgrade was answered: say the message.
    Message,
    /// The message came back: say a close frame.
    Close,
    /// The visit is over, as it should be.
    Over,
}

/// A visit that is on.
#[derive(Debug)]
pub(super) struct Visit {
    awaits: Awaits,
    heard: Vec<u8>,
}

impl Default for Visit {
    fn default() -> Visit {
        Visit { awaits: Awaits::Upgrade, heard: Vec::new() }
    }
}

impl Visit {
    /// Begins anew, with the memory of the last one.
    pub(super) fn reset(&mut self) {
        self.awaits = Awaits::Upgrade;
        self.heard.clear();
    }

    /// Goes one step on; after anything but [`Next::Wait`] there may be another one without new bytes.
    ///
    /// # Errors
    /// What came is not what has to.
    pub(super) fn hear(&mut self, bytes: &[u8], script: &Script) -> Result<Next, String> {
        self.heard.extend_from_slice(bytes);
        if self.awaits != Awaits::Upgrade && !self.skip_pings() {
            return Ok(Next::Wait);
        }
        match self.awaits {
            Awaits::Upgrade => self.hear_upgrade(),
            Awaits::Echo => self.hear_echo(script),
            Awaits::Close => self.hear_close(),
            Awaits::End if self.heard.is_empty() => Ok(Next::Wait),
            Awaits::End => Err("bytes came behind the server's close frame".to_owned()),
        }
    }

    /// The server ended the connection.
    ///
    /// # Errors
    /// It should not have.
    pub(super) fn end(&self) -> Result<Next, String> {
        match self.awaits {
            Awaits::End => Ok(Next::Over),
            _ => Err(format!("the server closed the connection before {}", self.awaited())),
        }
    }

    /// The server's close frame came.
    pub(super) fn is_closed(&self) -> bool {
        self.awaits == Awaits::End
    }

    /// What has to come next.
    pub(super) fn awaited(&self) -> &'static str {
        match self.awaits {
            Awaits::Upgrade => "the answer to the upgrade",
            Awaits::Echo => "the reply",
            Awaits::Close => "a close frame",
            Awaits::End => "the end of the connection",
        }
    }

    fn hear_upgrade(&mut self) -> Result<Next, String> {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let head_bytes = match response.parse(&self.heard) {
            Ok(httparse::Status::Complete(bytes)) => bytes,
            Ok(httparse::Status::Partial) if self.heard.len() <= HEAD_BYTES_MAX => return Ok(Next::Wait),
            Ok(httparse::Status::Partial) => return Err("the answer to the upgrade has no end".to_owned()),
            Err(error) => return Err(format!("the answer to the upgrade is no HTTP: {error}")),
        };
        if response.code != Some(101) {
            let status = response.code.unwrap_or(0);
            return Err(format!("upgrade answered with {status} {}", response.reason.unwrap_or("")));
        }
        let accept =
            response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("sec-websocket-accept"));
        if accept.is_none_or(|header| header.value != ACCEPT) {
            return Err("the upgrade's Sec-WebSocket-Accept does not fit the key".to_owned());
        }
        self.heard.drain(..head_bytes);
        self.awaits = Awaits::Echo;
        Ok(Next::Message)
    }

    fn hear_echo(&mut self, script: &Script) -> Result<Next, String> {
        let reply = &script.reply;
        let count = self.heard.len().min(reply.len());
        if self.heard[..count] != reply[..count] {
            return Err("the reply is not what was said".to_owned());
        }
        if count < reply.len() {
            return Ok(Next::Wait);
        }
        self.heard.drain(..count);
        if self.heard.first().is_some_and(|first| *first != PING) {
            return Err("more than the reply came".to_owned());
        }
        self.awaits = Awaits::Close;
        Ok(if script.closes { Next::Close } else { Next::Over })
    }

    fn hear_close(&mut self) -> Result<Next, String> {
        let code = match self.heard[..] {
            [] | [0x88] => return Ok(Next::Wait),
            [0x88, length, ..] if length < 126 && self.heard.len() < 2 + usize::from(length) => {
                return Ok(Next::Wait);
            }
            [0x88, 0, ..] => None,
            [0x88, length, high, low, ..] if length < 126 => Some(u16::from_be_bytes([high, low])),
            _ => return Err("another frame than the close that was due".to_owned()),
        };
        if code.is_some_and(|code| code != 1000) {
            return Err(format!("the server closed with {}", code.unwrap_or(0)));
        }
        self.heard.drain(..2 + usize::from(self.heard[1]));
        self.awaits = Awaits::End;
        Ok(Next::Wait)
    }

    /// A server may ping whenever it likes; such a short visit owes it no pong. `false`: one is not whole yet.
    fn skip_pings(&mut self) -> bool {
        while self.heard.first() == Some(&PING) {
            let length = self.heard.get(1).map(|length| 2 + usize::from(*length));
            let Some(length) = length.filter(|length| *length <= self.heard.len()) else { return false };
            self.heard.drain(..length);
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEAD: &str = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nSEC-WEBSOCKET-ACCEPT: \
                        s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";
    const CLOSE: [u8; 4] = [0x88, 2, 0x03, 0xe8];

    /// A visit that hears these, each in parts of `step` bytes: what it did.
    fn visit(said: &[&[u8]], step: usize, closes: bool) -> Result<Vec<Next>, String> {
        let script = Script::new("h", "/", 30, closes);
        let mut visit = Visit::default();
        let mut did = Vec::new();
        for part in said.iter().flat_map(|bytes| bytes.chunks(step)) {
            match visit.hear(part, &script)? {
                Next::Wait => {}
                next => did.push(next),
            }
        }
        if did.last() != Some(&Next::Over) {
            did.push(visit.end()?);
        }
        Ok(did)
    }

    fn reply() -> Vec<u8> {
        server_frame(&[b'e'; 30])
    }

    #[test]
    fn a_visit_goes_its_way_however_the_bytes_are_cut() {
        let (head, ping) = (HEAD.as_bytes(), [PING, 1, 7]);
        let politely = [Next::Message, Next::Close, Next::Over];
        for step in [1, 2, 3, 500] {
            assert_eq!(visit(&[head, &reply(), &CLOSE], step, true).unwrap(), politely);
            let with_pings: [&[u8]; 4] = [head, &[&ping, &reply()[..]].concat(), &ping, &[0x88, 0]];
            assert_eq!(visit(&with_pings, step, true).unwrap(), politely, "in steps of {step}");
            assert_eq!(visit(&[head, &reply()], step, false).unwrap(), [Next::Message, Next::Over]);
        }
    }

    #[test]
    fn what_a_server_does_wrong_is_said() {
        let head = HEAD.as_bytes();
        let mut other = reply();
        other[20] = b'x';
        let wrong_accept = HEAD.replace("s3p", "S3p");
        let twice = reply().repeat(2);
        let cases: [(&[&[u8]], &str); 11] = [
            (&[b"HTTP/1.1 404 Not Found\r\n\r\n"], "upgrade answered with 404 Not Found"),
            (&[wrong_accept.as_bytes()], "does not fit the key"),
            (&[b"SSH-2.0-dropbear\r\n"], "no HTTP"),
            (&[&head[..40]], "before the answer to the upgrade"),
            (&[head], "before the reply"),
            (&[head, &other], "not what was said"),
            (&[head, &twice[..40]], "another frame than the close"),
            (&[head, &reply()], "before a close frame"),
            (&[head, &reply(), &[0x88, 2, 0x03, 0xf3]], "closed with 1011"),
            (&[head, &reply(), &CLOSE, &CLOSE], "behind the server's close frame"),
            (&[head, &reply(), &[PING, 3, 7]], "before a close frame"),
        ];
        for (said, why) in cases {
            for step in [1, 2] {
                let error = visit(said, step, true).unwrap_err();
                assert!(error.contains(why), "{error} instead of {why}");
            }
        }
        assert!(visit(&[head, &twice], 500, true).unwrap_err().contains("more than the reply"));
    }
}
