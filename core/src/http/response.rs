//! Answers: what the app says, and how it is written.

use bytes::Bytes;
use std::io::Write;

/// An answer of the app. `Content-Length` and `Connection` are written by the engine; set neither.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Response {
    /// Status code, 200 to 599.
    pub status: u16,
    /// Headers in the order in which they are written. Control characters in a value are written as spaces.
    pub headers: Vec<(&'static str, String)>,
    /// The body; left out on the wire for HEAD, 204 and 304.
    pub body: Bytes,
}

impl Response {
    /// An answer without headers and body.
    #[must_use]
    pub fn new(status: u16) -> Response {
        Response { status, headers: Vec::new(), body: Bytes::new() }
    }

    /// Adds a header.
    #[must_use]
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Response {
        self.headers.push((name, value.into()));
        self
    }

    /// Sets the body.
    #[must_use]
    pub fn body(mut self, body: impl Into<Bytes>) -> Response {
        self.body = body.into();
        self
    }

    /// Writes the answer. `head_only`: the request was HEAD, so its length is told and its body is not sent.
    pub(crate) fn write(&self, out: &mut Vec<u8>, head_only: bool, keep_alive: bool) {
        let bodiless = matches!(self.status, 204 | 304) || self.status < 200;
        out.reserve(160 + if head_only || bodiless { 0 } else { self.body.len() });
        // Writing to a Vec can't fail.
        let _ = write!(out, "HTTP/1.1 {} {}\r\n", self.status, reason(self.status));
        for (name, value) in &self.headers {
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend(value.bytes().map(|b| if b < 0x20 && b != b'\t' || b == 0x7f { b' ' } else { b }));
            out.extend_from_slice(b"\r\n");
        }
        if !bodiless {
            let _ = write!(out, "content-length: {}\r\n", self.body.len());
        }
        out.extend_from_slice(if keep_alive { b"\r\n" } else { b"connection: close\r\n\r\n" });
        if !head_only && !bodiless {
            out.extend_from_slice(&self.body);
        }
    }
}

/// The reason phrase of a status; clients don't read it.
fn reason(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        304 => "Not Modified",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        409 => "Conflict",
        411 => "Length Required",
        413 => "Content Too Large",
        414 => "URI Too Long",
        415 => "Unsupported Media Type",
        417 => "Expectation Failed",
        422 => "Unprocessable Content",
        426 => "Upgrade Required",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        _ => "",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_framed() {
        let check = |response: Response, head_only, keep_alive, expect: &str| {
            let mut out = Vec::new();
            response.write(&mut out, head_only, keep_alive);
            assert_eq!(String::from_utf8(out).expect("ascii"), expect);
        };
        let hello = || Response::new(200).header("content-type", "text/plain").body("hello");
        let head = "HTTP/1.1 200 OK\r\ncontent-type: text/plain\r\ncontent-length: 5\r\n";
        check(hello(), false, true, &format!("{head}\r\nhello"));
        check(hello(), true, true, &format!("{head}\r\n"));
        check(hello(), false, false, &format!("{head}connection: close\r\n\r\nhello"));
        check(Response::new(204), false, true, "HTTP/1.1 204 No Content\r\n\r\n");
        let split = Response::new(200).header("x", "a\r\nset-cookie: b");
        check(split, false, true, "HTTP/1.1 200 OK\r\nx: a  set-cookie: b\r\ncontent-length: 0\r\n\r\n");
    }
}
