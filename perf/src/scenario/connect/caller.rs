//! One connect after the other, without an event loop: log-in, upgrade, hello, heads, close.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::{Value, json};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};
use tungstenite::client::ClientRequestBuilder;
use tungstenite::handshake::HandshakeError;
use tungstenite::{Error, Message, WebSocket};

use crate::config::Target;
use crate::latency::Latency;
use crate::rest::Rest;
use crate::swarm::socket::source_for;
use crate::wire::{self, Incoming};

/// Who connects.
#[derive(Debug, Clone)]
pub(super) struct Person {
    pub(super) token: String,
    /// Name and password; `None`: he has a token.
    pub(super) login: Option<(String, String)>,
}

/// What all callers have met so far.
#[derive(Debug, Default, Clone, Serialize)]
pub(super) struct Met {
    /// Connected, greeted, and told where the conversations stand.
    pub(super) ready: u64,
    /// 429 or 503 with `Retry-After`, or 1012 or 1013 in a frame or at the close: answers, too.
    pub(super) refused_with_time: u64,
    /// 429 or 503 without.
    pub(super) refused_without_retry_after: u64,
    /// Other answers, and none in time.
    pub(super) failed: u64,
    /// The last of these, in words; empty: none.
    pub(super) trouble: String,
    /// Answers that break the protocol, in words, some of them.
    #[serde(skip)]
    pub(super) wrong: Vec<String>,
    #[serde(skip)]
    pub(super) latencies: Stages,
    /// Of [`Stages::ready`], since the last look.
    #[serde(skip)]
    pub(super) fresh: Latency,
}

/// Each from when the connect was due.
#[derive(Debug, Default, Clone)]
pub(super) struct Stages {
    pub(super) login: Latency,
    pub(super) upgraded: Latency,
    pub(super) ready: Latency,
}

/// More wrong answers than this tell nothing new.
const WRONG_MAX: usize = 20;

/// How a connect that did not get through ended.
#[derive(Debug)]
enum Halt {
    RefusedWithTime,
    RefusedWithoutTime(String),
    Failed(String),
    Wrong(String),
}

impl From<Error> for Halt {
    fn from(error: Error) -> Halt {
        Halt::Failed(error.to_string())
    }
}

impl From<io::Error> for Halt {
    fn from(error: io::Error) -> Halt {
        Halt::Failed(error.to_string())
    }
}

/// A thread's own.
#[derive(Debug)]
pub(super) struct Caller {
    target: Target,
    /// Log-ins go over one kept connection.
    rest: Rest,
    deadline: Duration,
}

impl Caller {
    pub(super) fn new(target: Target, deadline: Duration) -> Caller {
        Caller { rest: Rest::new(target.clone()), target, deadline }
    }

    /// The `number`-th connect, due at `due`.
    pub(super) fn connect(&mut self, number: u64, due: Instant, person: &Person, met: &Mutex<Met>) {
        let mut stages = Stages::default();
        let came = self.come(number, due, person, &mut stages);
        let mut met = met.lock().unwrap_or_else(PoisonError::into_inner);
        met.latencies.login.merge(&stages.login);
        met.latencies.upgraded.merge(&stages.upgraded);
        match came {
            Ok(us) => {
                met.ready += 1;
                met.latencies.ready.record(us);
                met.fresh.record(us);
            }
            Err(Halt::RefusedWithTime) => met.refused_with_time += 1,
            Err(Halt::RefusedWithoutTime(why)) => {
                met.refused_without_retry_after += 1;
                met.trouble = why;
            }
            Err(Halt::Failed(why)) => {
                met.failed += 1;
                met.trouble = why;
            }
            Err(Halt::Wrong(why)) => {
                met.failed += 1;
                if met.wrong.len() < WRONG_MAX {
                    met.wrong.push(why.clone());
                }
                met.trouble = why;
            }
        }
    }

    /// From log-in to close; µs until everything was known.
    fn come(&mut self, number: u64, due: Instant, person: &Person, stages: &mut Stages) -> Result<u64, Halt> {
        let us = || due.elapsed().as_micros() as u64;
        let mut token = person.token.clone();
        if let Some((name, password)) = &person.login {
            token = self.log_in(name, password)?;
            stages.login.record(us());
        }
        let mut socket = self.upgrade(number, &token)?;
        stages.upgraded.record(us());
        hear(&mut socket, |told| match told {
            Incoming::Hello { .. } => Ok(true),
            other => Err(Halt::Wrong(format!("the first frame is no hello: {other:?}"))),
        })?;
        socket.send(Message::text(wire::heads(std::iter::empty(), None)))?;
        hear(&mut socket, |told| match told {
            Incoming::Heads(_) => Ok(true),
            Incoming::Error { error, .. } if is_busy(error.code) => Err(Halt::RefusedWithTime),
            Incoming::Error { error, .. } => Err(Halt::Failed(format!("{} {}", error.code, error.message))),
            _ => Ok(false),
        })?;
        let ready_us = us();
        // The close is part of what a connect costs, not of how long it takes.
        let _ = socket.close(None);
        while socket.read().is_ok() {}
        Ok(ready_us)
    }

    fn log_in(&mut self, name: &str, password: &str) -> Result<String, Halt> {
        let body =
            json!({"username": name, "password": password, "deviceId": "perf", "deviceName": "gochat-perf"});
        let answer = self.rest.call("POST", "/api/auth/login", Some(&body));
        let answer = answer.map_err(|error| Halt::Failed(error.to_string()))?;
        let told: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        match (answer.status, told["accessToken"].as_str()) {
            (200, Some(token)) => Ok(token.to_owned()),
            (200, None) => Err(Halt::Wrong(format!("a log-in without accessToken: {told}"))),
            (status, _) => Err(refused(status, answer.retry_after_s.is_some(), &answer.body)),
        }
    }

    fn upgrade(&self, number: u64, token: &str) -> Result<WebSocket<TcpStream>, Halt> {
        let socket = Socket::new(Domain::for_address(self.target.addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_tcp_nodelay(true)?;
        // Ports that were used lately can't be used again at once: many addresses have many.
        if let Some(source) = source_for(&self.target, number as usize) {
            socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
        }
        socket.connect_timeout(&SockAddr::from(self.target.addr), self.deadline)?;
        socket.set_read_timeout(Some(self.deadline))?;
        socket.set_write_timeout(Some(self.deadline))?;
        let uri =
            format!("ws://{}/ws", self.target.host).parse().map_err(|_| Error::Utf8("a host".to_owned()))?;
        let request = ClientRequestBuilder::new(uri).with_header("Authorization", format!("Bearer {token}"));
        match tungstenite::client(request, TcpStream::from(socket)) {
            Ok((socket, _)) => Ok(socket),
            Err(HandshakeError::Failure(Error::Http(response))) => {
                let has_time = response.headers().contains_key("retry-after");
                let body = response.body().as_deref().unwrap_or_default();
                Err(refused(response.status().as_u16(), has_time, body))
            }
            Err(HandshakeError::Failure(error)) => Err(error.into()),
            Err(HandshakeError::Interrupted(_)) => {
                Err(Halt::Failed("no answer to the upgrade in time".to_owned()))
            }
        }
    }
}

fn refused(status: u16, has_time: bool, body: &[u8]) -> Halt {
    let why = format!("{status} {:.200}", String::from_utf8_lossy(body));
    match (status, has_time) {
        (429 | 503, true) => Halt::RefusedWithTime,
        (429 | 503, false) => Halt::RefusedWithoutTime(why),
        _ => Halt::Failed(why),
    }
}

/// The domain's codes for too fast and too much.
fn is_busy(code: u32) -> bool {
    matches!(code, 1012 | 1013)
}

/// Reads until `is_it` says that it was that.
fn hear(
    socket: &mut WebSocket<TcpStream>,
    mut is_it: impl FnMut(Incoming<'_>) -> Result<bool, Halt>,
) -> Result<(), Halt> {
    loop {
        match socket.read()? {
            Message::Text(text) => {
                let told = wire::parse(text.as_str())
                    .map_err(|error| Halt::Wrong(format!("frame not understood ({error}): {text:.200}")))?;
                if is_it(told)? {
                    return Ok(());
                }
            }
            Message::Close(Some(close)) if is_busy(u16::from(close.code).into()) => {
                return Err(Halt::RefusedWithTime);
            }
            Message::Close(close) => return Err(Halt::Failed(format!("closed: {close:?}"))),
            _ => {}
        }
    }
}
