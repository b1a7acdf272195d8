//! Requests out of a connection's bytes: heads, bodies, and everything that is refused. Pure.
//!
//! Whoever frames a message differently than the next hop can smuggle a request past it (RFC 9112, 11.2), so whatever
//! is ambiguous is refused and the connection closed.

use super::{Request, RequestRefused};
use crate::config::{Config, HEADERS_LIMIT};
use crate::proxies::{Network, client_of};
use httparse::{EMPTY_HEADER, Status};
use std::net::{IpAddr, SocketAddr};

/// Room for a method and a version: a first line that is that much longer than a target may be has one that is too long.
const LINE_ROOM: usize = 64;

/// What the bytes read so far amount to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Nothing but perhaps blank lines.
    Nothing,
    /// A part of a head.
    Head,
    /// A head and a part of its body.
    Body,
    /// As `Body`; the client waits to be told `100 Continue`. Said once.
    Continue,
    /// A whole request.
    Whole(Head),
    /// To be answered with the status of this; then the connection is closed.
    Refuse(RequestRefused),
}

/// How a request is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Where it begins: after blank lines.
    start: usize,
    /// Where its body begins.
    end: usize,
    body: usize,
    /// The connection may go on after the answer.
    pub(crate) keep_alive: bool,
    /// The answer has no body.
    pub(crate) is_head: bool,
    expects_continue: bool,
}

impl Head {
    /// Bytes of the whole request.
    pub(crate) fn whole(&self) -> usize {
        self.end + self.body
    }
}

/// Progress of one request, so that no byte is looked at twice while a head comes in slowly.
#[derive(Debug, Default)]
pub(crate) struct Intake {
    scanned: usize,
    start: usize,
    line: usize,
    head: Option<Head>,
}

impl Intake {
    /// The client that a proxy at `peer` speaks for, once the head has come.
    pub(crate) fn client(&self, bytes: &[u8], peer: IpAddr, proxies: &[Network]) -> Option<IpAddr> {
        let head = self.head?;
        let mut headers = [EMPTY_HEADER; HEADERS_LIMIT];
        let mut parsed = httparse::Request::new(&mut headers);
        parsed.parse(&bytes[head.start..head.end]).ok()?;
        let named = |header: &&httparse::Header<'_>| header.name.eq_ignore_ascii_case("x-forwarded-for");
        Some(client_of(proxies, peer, parsed.headers.iter().filter(named).map(|header| header.value)))
    }

    /// Looks at all bytes of the request so far.
    pub(crate) fn step(&mut self, bytes: &[u8], config: &Config) -> Step {
        match self.try_step(bytes, config) {
            Ok(step) => step,
            Err(refused) => Step::Refuse(refused),
        }
    }

    fn try_step(&mut self, bytes: &[u8], config: &Config) -> Result<Step, RequestRefused> {
        let head = match self.head {
            Some(head) => head,
            None => {
                let Some(end) = self.find_end(bytes)? else { return self.incomplete(bytes, config) };
                let head = parse(bytes, self.start, end, config)?;
                self.head = Some(head);
                if head.expects_continue && bytes.len() < head.whole() {
                    return Ok(Step::Continue);
                }
                head
            }
        };
        Ok(if bytes.len() < head.whole() { Step::Body } else { Step::Whole(head) })
    }

    /// The end of the head: an empty line after at least one that is not.
    fn find_end(&mut self, bytes: &[u8]) -> Result<Option<usize>, RequestRefused> {
        while let Some(feed) = bytes[self.scanned..].iter().position(|byte| *byte == b'\n') {
            let feed = self.scanned + feed;
            if feed == self.line || bytes[feed - 1] != b'\r' {
                return Err(RequestRefused::LineEnd);
            }
            let empty = feed - 1 == self.line;
            let first = self.line == self.start;
            self.scanned = feed + 1;
            self.line = feed + 1;
            match (empty, first) {
                (true, true) => self.start = feed + 1,
                (true, false) => return Ok(Some(feed + 1)),
                _ => {}
            }
        }
        self.scanned = bytes.len();
        Ok(None)
    }

    fn incomplete(&self, bytes: &[u8], config: &Config) -> Result<Step, RequestRefused> {
        let in_first_line = self.line == self.start;
        if in_first_line && bytes.len() - self.start > config.target_max_bytes + LINE_ROOM {
            Err(RequestRefused::TargetTooLong)
        } else if bytes.len() > config.head_max_bytes {
            Err(RequestRefused::HeadTooLarge)
        } else if bytes.len() == self.start {
            Ok(Step::Nothing)
        } else {
            Ok(Step::Head)
        }
    }
}

fn parse(bytes: &[u8], start: usize, end: usize, config: &Config) -> Result<Head, RequestRefused> {
    if end > config.head_max_bytes {
        let first_line = bytes[start..end].iter().position(|byte| *byte == b'\n').unwrap_or(end - start);
        return Err(if first_line > config.target_max_bytes + LINE_ROOM {
            RequestRefused::TargetTooLong
        } else {
            RequestRefused::HeadTooLarge
        });
    }
    let mut headers = [EMPTY_HEADER; HEADERS_LIMIT];
    let mut parsed = httparse::Request::new(&mut headers[..config.headers_max]);
    match parsed.parse(&bytes[start..end]) {
        Ok(Status::Complete(_)) => {}
        Err(httparse::Error::TooManyHeaders) => return Err(RequestRefused::TooManyHeaders),
        Err(httparse::Error::Version) => return Err(RequestRefused::Version),
        Err(httparse::Error::HeaderName | httparse::Error::HeaderValue) => {
            return Err(RequestRefused::Header);
        }
        // A CR alone.
        Err(httparse::Error::NewLine) => return Err(RequestRefused::LineEnd),
        Ok(Status::Partial) | Err(_) => return Err(RequestRefused::RequestLine),
    }
    let target = parsed.path.unwrap_or_default();
    if target.len() > config.target_max_bytes {
        return Err(RequestRefused::TargetTooLong);
    }
    if path_and_query(target).is_none() {
        return Err(RequestRefused::Target);
    }
    let http_1_1 = parsed.version == Some(1);
    let mut fields = Fields::default();
    for header in parsed.headers.iter() {
        fields.take(header)?;
    }
    if fields.hosts > 1 || http_1_1 && fields.hosts == 0 {
        return Err(RequestRefused::Host);
    }
    match (fields.transfer_encoding, fields.length) {
        (true, Some(_)) => return Err(RequestRefused::BothLengths),
        (true, None) => return Err(RequestRefused::LengthRequired),
        _ => {}
    }
    if fields.expects_other {
        return Err(RequestRefused::Expectation);
    }
    let body = fields.length.unwrap_or(0);
    if body > config.body_max_bytes as u64 {
        return Err(RequestRefused::BodyTooLarge);
    }
    Ok(Head {
        start,
        end,
        body: body as usize,
        keep_alive: http_1_1 && !fields.close,
        is_head: parsed.method == Some("HEAD"),
        expects_continue: http_1_1 && fields.expects_continue,
    })
}

/// The headers that frame a request.
#[derive(Default)]
struct Fields {
    hosts: usize,
    length: Option<u64>,
    transfer_encoding: bool,
    close: bool,
    expects_continue: bool,
    expects_other: bool,
}

impl Fields {
    fn take(&mut self, header: &httparse::Header<'_>) -> Result<(), RequestRefused> {
        let is = |name| header.name.eq_ignore_ascii_case(name);
        if is("host") {
            self.hosts += 1;
        } else if is("content-length") {
            let length = parse_length(header.value).ok_or(RequestRefused::ContentLength)?;
            if self.length.is_some_and(|before| before != length) {
                return Err(RequestRefused::ContentLength);
            }
            self.length = Some(length);
        } else if is("transfer-encoding") {
            self.transfer_encoding = true;
        } else if is("connection") {
            let mut tokens = header.value.split(|byte| *byte == b',').map(<[u8]>::trim_ascii);
            self.close |= tokens.any(|token| token.eq_ignore_ascii_case(b"close"));
        } else if is("expect") {
            let known = header.value.trim_ascii().eq_ignore_ascii_case(b"100-continue");
            self.expects_continue |= known;
            self.expects_other |= !known;
        }
        Ok(())
    }
}

/// Digits only: no sign, no list, no blanks within.
fn parse_length(value: &[u8]) -> Option<u64> {
    let digits = value.trim_ascii();
    if digits.is_empty() || digits.len() > 19 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    Some(digits.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

/// Splits a target in origin, absolute or asterisk form.
fn path_and_query(target: &str) -> Option<(&str, Option<&str>)> {
    let scheme = ["http://", "https://"].iter().find_map(|scheme| {
        let start = target.get(..scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then(|| &target[scheme.len()..])
    });
    let path = match scheme {
        Some(rest) => rest.find(['/', '?']).map_or("/", |at| &rest[at..]),
        None => target,
    };
    if !path.starts_with(['/', '?']) && path != "*" {
        return None;
    }
    let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
    Some((if path.is_empty() { "/" } else { path }, query))
}

/// Shows a whole request, which [`Intake::step`] has accepted, to `look`.
pub(crate) fn with_request<R>(
    bytes: &[u8],
    head: &Head,
    peer: SocketAddr,
    client_ip: IpAddr,
    look: impl FnOnce(&Request<'_>) -> R,
) -> Option<R> {
    let mut headers = [EMPTY_HEADER; HEADERS_LIMIT];
    let mut parsed = httparse::Request::new(&mut headers);
    let Ok(Status::Complete(_)) = parsed.parse(&bytes[head.start..head.end]) else { return None };
    let (path, query) = path_and_query(parsed.path?)?;
    Some(look(&Request {
        method: parsed.method?,
        path,
        query,
        body: &bytes[head.end..head.whole()],
        peer,
        client_ip,
        http_1_1: parsed.version == Some(1),
        headers: parsed.headers,
    }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn whole(bytes: &[u8], config: &Config) -> Step {
        Intake::default().step(bytes, config)
    }

    fn small() -> Config {
        Config {
            head_max_bytes: 256,
            target_max_bytes: 64,
            headers_max: 4,
            body_max_bytes: 16,
            ..Config::default()
        }
    }

    #[test]
    fn heads_are_refused_for_the_right_reason() {
        use RequestRefused::*;
        let long = "a".repeat(300);
        let check = |head: &str, expect: RequestRefused| {
            assert_eq!(whole(head.as_bytes(), &small()), Step::Refuse(expect), "{head:?}");
        };
        check("GET / HTTP/1.1\r\nHost: a\n\n", LineEnd);
        check("GET / HTTP/1.1\r\nHost: a\nX: b\r\n\r\n", LineEnd);
        check("GET / HTTP/1.1\r\nHost: a\rX: b\r\n\r\n", Header);
        check("GET / HTTP/1.1\rX: b\r\n\r\n", LineEnd);
        check("GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n", Header);
        check("GET / HTTP/1.1\r\nHost : a\r\n\r\n", Header);
        check("GET / HTTP/1.1\r\nX: y\r\n\r\n", Host);
        check("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", Host);
        check("GET a HTTP/1.1\r\nHost: a\r\n\r\n", Target);
        check("GET /\r\nHost: a\r\n\r\n", RequestLine);
        check("\x16\x03\x01\x02\n", LineEnd);
        check("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Version);
        check("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", LengthRequired);
        let both = "Transfer-Encoding: chunked\r\nContent-Length: 1";
        check(&format!("POST / HTTP/1.1\r\nHost: a\r\n{both}\r\n\r\n"), BothLengths);
        for length in ["1\r\nContent-Length: 2", "1, 1", "+1", "-1", "99999999999999999999"] {
            check(&format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n"), ContentLength);
        }
        check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 17\r\n\r\n", BodyTooLarge);
        check("POST / HTTP/1.1\r\nHost: a\r\nExpect: 200-ok\r\nContent-Length: 1\r\n\r\n", Expectation);
        check(&format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", &long[..64]), TargetTooLong);
        check(&format!("GET /{long}"), TargetTooLong);
        check(&format!("GET / HTTP/1.1\r\nHost: {long}"), HeadTooLarge);
        check("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\nD: 4\r\n\r\n", TooManyHeaders);
    }

    #[test]
    fn targets_are_split() {
        let check = |target, expect| assert_eq!(path_and_query(target), expect, "{target}");
        check("/", Some(("/", None)));
        check("/a?b=c?d", Some(("/a", Some("b=c?d"))));
        check("/a?", Some(("/a", Some(""))));
        check("*", Some(("*", None)));
        check("http://host/a?b", Some(("/a", Some("b"))));
        check("HTTP://host", Some(("/", None)));
        check("http://host?b", Some(("/", Some("b"))));
        check("host:443", None);
    }

    #[test]
    fn bodies_continue_and_keep_alive_are_told() {
        let check = |bytes: &str, expect: fn(Step) -> bool| {
            let step = whole(bytes.as_bytes(), &small());
            assert!(expect(step), "{bytes:?} gave {step:?}");
        };
        check("", |step| step == Step::Nothing);
        check("\r\n", |step| step == Step::Nothing);
        check("G", |step| step == Step::Head);
        check("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nx", |step| step == Step::Body);
        let expect = "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-Continue\r\nContent-Length: 2\r\n\r\n";
        check(expect, |step| step == Step::Continue);
        check(&format!("{expect}xy"), |step| matches!(step, Step::Whole(_)));
        check(
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            |step| matches!(step, Step::Whole(head) if head.keep_alive),
        );
        check("GET / HTTP/1.0\r\n\r\n", |step| matches!(step, Step::Whole(head) if !head.keep_alive));
        check(
            "HEAD / HTTP/1.1\r\nHost: a\r\nConnection: x, Close\r\n\r\n",
            |step| matches!(step, Step::Whole(head) if !head.keep_alive && head.is_head),
        );
    }

    proptest! {
        #[test]
        fn a_request_is_the_same_however_it_is_cut(cuts in prop::collection::vec(1usize..30, 0..40)) {
            let bytes = b"\r\nPOST /a?b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nX: y\r\n\r\nhelloGET / HTTP/1.1\r\n";
            let mut intake = Intake::default();
            let mut have = 0;
            let step = cuts.into_iter().chain(std::iter::repeat(7)).find_map(|cut| {
                have = (have + cut).min(bytes.len());
                match intake.step(&bytes[..have], &Config::default()) {
                    Step::Whole(head) => Some(head),
                    Step::Refuse(refused) => panic!("{refused:?}"),
                    _ => None,
                }
            });
            let head = step.expect("the loop ends with a request");
            let peer = SocketAddr::from(([127, 0, 0, 1], 1));
            let seen = with_request(bytes, &head, peer, peer.ip(), |request| {
                (request.method == "POST", request.path == "/a", request.query == Some("b"), request.body == b"hello",
                 request.header("x") == Some("y"))
            });
            prop_assert_eq!(seen, Some((true, true, true, true, true)));
            prop_assert_eq!(&bytes[head.whole()..], b"GET / HTTP/1.1\r\n");
        }
    }
}
