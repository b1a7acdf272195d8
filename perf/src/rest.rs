//! A small blocking HTTP/1.1 client with one kept connection: enough for logins and the admin port.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::{Value, json};

use crate::config::Target;
use crate::error::LoadError;
use crate::users::User;

/// A call that takes longer has failed. Logins queue behind password hashing, hence long.
const CALL_WAIT: Duration = Duration::from_secs(60);
/// Larger answers are refused: nothing here needs them.
const ANSWER_BYTES_MAX: usize = 4 << 20;
const HEADERS_MAX: usize = 64;
/// How often 503 or 429 is waited out before a call counts as failed.
const BUSY_MAX: u32 = 120;

/// A whole answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after_s: Option<u64>,
    pub body: Vec<u8>,
}

/// One kept connection to a server; reconnects by itself.
#[derive(Debug)]
pub struct Rest {
    target: Target,
    /// The access token that each call carries.
    token: Option<String>,
    stream: Option<TcpStream>,
}

impl Rest {
    pub fn new(target: Target) -> Rest {
        Rest { target, token: None, stream: None }
    }

    /// Calls that carry this user's access token.
    pub fn as_user(target: Target, token: &str) -> Rest {
        Rest { target, token: Some(token.to_owned()), stream: None }
    }

    /// Later calls carry this access token, over the same connection.
    pub(crate) fn speak_as(&mut self, token: &str) {
        self.token = Some(token.to_owned());
    }

    /// One call. A kept connection that turns out to be closed is replaced once.
    ///
    /// # Errors
    /// [`LoadError::Rest`]: no connection, no answer in time, or not HTTP.
    pub fn call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, LoadError> {
        let kept = self.stream.is_some();
        match self.try_call(method, path, body) {
            Err(_) if kept => self.try_call(method, path, body),
            other => other,
        }
        .map_err(|why| LoadError::Rest { call: format!("{method} {path}"), why })
    }

    fn try_call(&mut self, method: &str, path: &str, body: Option<&Value>) -> Result<Answer, String> {
        let mut stream = match self.stream.take() {
            Some(stream) => stream,
            None => self.connect().map_err(|error| format!("{}: {error}", self.target.addr))?,
        };
        let body = body.map(Value::to_string).unwrap_or_default();
        let mut request = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\n", self.target.host);
        if let Some(token) = &self.token {
            request += &format!("Authorization: Bearer {token}\r\n");
        }
        if method != "GET" {
            request += &format!("Content-Type: application/json\r\nContent-Length: {}\r\n", body.len());
        }
        request += "\r\n";
        request += &body;
        stream.write_all(request.as_bytes()).map_err(|error| error.to_string())?;
        let (answer, keep) = read_answer(&mut stream)?;
        self.stream = keep.then_some(stream);
        Ok(answer)
    }

    fn connect(&self) -> std::io::Result<TcpStream> {
        let stream = TcpStream::connect_timeout(&self.target.addr, CALL_WAIT)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(CALL_WAIT))?;
        stream.set_write_timeout(Some(CALL_WAIT))?;
        Ok(stream)
    }

    /// Registers `username` and logs him in.
    ///
    /// # Errors
    /// [`LoadError::Rest`] with the server's own words.
    pub fn register_and_login(&mut self, username: &str, password: &str) -> Result<User, LoadError> {
        let email = format!("{username}@perf.invalid");
        let register = json!({"username": username, "email": email, "password": password});
        self.patiently("/api/auth/register", &register)?;
        let login = json!({"username": username, "password": password, "deviceName": "gochat-perf"});
        let answer = self.patiently("/api/auth/login", &login)?;
        let id = answer["userId"].as_str().and_then(|id| id.parse().ok());
        match (id, answer["accessToken"].as_str()) {
            (Some(id), Some(token)) => Ok(User { id, token: token.to_owned() }),
            _ => Err(LoadError::Rest {
                call: "POST /api/auth/login".to_owned(),
                why: format!("no userId and accessToken in {answer}"),
            }),
        }
    }

    /// A group of this user and `members`; its conversation's id.
    ///
    /// # Errors
    /// [`LoadError::Rest`] with the server's own words.
    pub(crate) fn make_group(&mut self, name: &str, members: &[User]) -> Result<String, LoadError> {
        let ids: Vec<String> = members.iter().map(|member| member.id.to_string()).collect();
        let body = json!({"name": name, "memberIds": ids});
        let answer = self.call("POST", "/api/groups", Some(&body))?;
        let group: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        group["conversationId"].as_str().map(str::to_owned).ok_or_else(|| LoadError::Rest {
            call: "POST /api/groups".to_owned(),
            why: format!("{} {}", answer.status, String::from_utf8_lossy(&answer.body)),
        })
    }

    /// A POST that waits out 503 and 429 as the server asks.
    fn patiently(&mut self, path: &str, body: &Value) -> Result<Value, LoadError> {
        let failed = |why: String| LoadError::Rest { call: format!("POST {path}"), why };
        for _ in 0..BUSY_MAX {
            let answer = self.call("POST", path, Some(body))?;
            match answer.status {
                200..=299 => {
                    return serde_json::from_slice(&answer.body).map_err(|error| failed(error.to_string()));
                }
                429 | 503 => {
                    std::thread::sleep(Duration::from_secs(answer.retry_after_s.unwrap_or(1).clamp(1, 10)))
                }
                status => return Err(failed(format!("{status} {}", String::from_utf8_lossy(&answer.body)))),
            }
        }
        Err(failed("the server stayed busy".to_owned()))
    }
}

/// Reads one answer; true: the connection can be used again.
fn read_answer(stream: &mut impl Read) -> Result<(Answer, bool), String> {
    let mut buffer = Vec::new();
    let mut chunk = [0; 8192];
    let mut read_more = |buffer: &mut Vec<u8>| -> Result<usize, String> {
        let read = stream.read(&mut chunk).map_err(|error| error.to_string())?;
        buffer.extend_from_slice(&chunk[..read]);
        if buffer.len() > ANSWER_BYTES_MAX { Err("the answer is too large".to_owned()) } else { Ok(read) }
    };
    loop {
        let mut headers = [httparse::EMPTY_HEADER; HEADERS_MAX];
        let mut response = httparse::Response::new(&mut headers);
        let parsed = response.parse(&buffer).map_err(|error| format!("not HTTP: {error}"))?;
        let httparse::Status::Complete(head_bytes) = parsed else {
            if read_more(&mut buffer)? == 0 {
                return Err("closed before an answer".to_owned());
            }
            continue;
        };
        let header = |name: &str| {
            let found = response.headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
            found.and_then(|header| std::str::from_utf8(header.value).ok()).map(str::trim)
        };
        let status = response.code.unwrap_or(0);
        let retry_after_s = header("retry-after").and_then(|value| value.parse().ok());
        let length: Option<usize> = header("content-length").and_then(|value| value.parse().ok());
        let chunked = header("transfer-encoding").is_some_and(|value| value.eq_ignore_ascii_case("chunked"));
        let keep = !header("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
        let mut body = buffer.split_off(head_bytes);
        if chunked {
            return Err("a chunked answer is not supported".to_owned());
        }
        let length = if status == 204 { Some(0) } else { length };
        while length.is_none_or(|length| body.len() < length) {
            if read_more(&mut body)? == 0 {
                if length.is_some() {
                    return Err("closed within an answer".to_owned());
                }
                break;
            }
        }
        body.truncate(length.unwrap_or(body.len()));
        return Ok((Answer { status, retry_after_s, body }, keep && length.is_some()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(wire: &str, expect: Result<(u16, &str, bool), &str>) {
        // A chained pair of readers stands for an answer that comes in two reads.
        let (first, second) = wire.as_bytes().split_at(wire.len() / 2);
        let found = read_answer(&mut first.chain(second));
        match (found, expect) {
            (Ok((answer, keep)), Ok((status, body, keeps))) => {
                assert_eq!(
                    (answer.status, String::from_utf8_lossy(&answer.body).as_ref(), keep),
                    (status, body, keeps)
                );
            }
            (Err(error), Err(words)) => assert!(error.contains(words), "{error}"),
            (found, _) => panic!("{found:?}"),
        }
    }

    #[test]
    fn answers_are_read_whole() {
        check("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", Ok((200, "hi", true)));
        check("HTTP/1.1 204 No Content\r\n\r\n", Ok((204, "", true)));
        check("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nto the end", Ok((200, "to the end", false)));
        check("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhi", Err("closed within"));
        check("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", Err("chunked"));
        check("SSH-2.0-OpenSSH\r\n", Err("not HTTP"));
        check("HTTP/1.1 2", Err("closed before"));
    }
}
