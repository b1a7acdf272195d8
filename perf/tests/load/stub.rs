//! A plain WebSocket server, a thread for each connection, that does wrong on demand.

use std::io::Write;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use serde_json::Value;
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::{Message, WebSocket};

use crate::schema;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    Drop,
    Double,
    /// Two neighbours change places.
    Swap,
    /// Other letters, of the same length.
    Change,
    HangUp,
    /// Says nothing for a second, once on a connection.
    Stall,
    /// Ends the connection without a close frame where one is due.
    NoClose,
    /// Pings are not answered.
    Mute,
    /// No upgrade is granted.
    Refuse,
}

/// Whether the fault strikes at this message of this connection; both count from 1.
pub(crate) type Strikes = fn(connection: u32, message: u32) -> bool;

const STALL: Duration = Duration::from_secs(1);

/// All who are at /broadcast. Whoever writes to one of them holds the lock, so that frames stay whole.
#[derive(Clone, Default)]
struct Room(Arc<Mutex<Vec<TcpStream>>>);

impl Room {
    fn members(&self) -> MutexGuard<'_, Vec<TcpStream>> {
        self.0.lock().unwrap()
    }
}

pub(crate) fn serve(fault: Fault, strikes: Strikes) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    let room = Room::default();
    std::thread::spawn(move || {
        for (connection, stream) in (1..).zip(listener.incoming()) {
            let (stream, room) = (stream.unwrap(), room.clone());
            std::thread::spawn(move || greet(stream, fault, &room, |message| strikes(connection, message)));
        }
    });
    addr
}

#[allow(clippy::result_large_err, reason = "tungstenite's own")]
fn greet(stream: TcpStream, fault: Fault, room: &Room, strikes: impl Fn(u32) -> bool) {
    let mut path = String::new();
    let raw = stream.try_clone().unwrap();
    let look = |request: &Request, response: Response| {
        path = request.uri().path().to_owned();
        if fault == Fault::Refuse {
            let mut refusal = ErrorResponse::new(Some("full".to_owned()));
            *refusal.status_mut() = tungstenite::http::StatusCode::SERVICE_UNAVAILABLE;
            return Err(refusal);
        }
        Ok(response)
    };
    let Ok(socket) = tungstenite::accept_hdr(stream, look) else { return };
    if path == "/broadcast" {
        room.members().push(raw);
        broadcast(socket, fault, room, strikes);
    } else {
        echo(socket, fault, strikes);
    }
}

fn echo(mut socket: WebSocket<TcpStream>, fault: Fault, strikes: impl Fn(u32) -> bool) {
    let mut held = None;
    let mut number = 0;
    loop {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(Message::Close(_)) if fault == Fault::NoClose => return,
            Ok(Message::Ping(_)) if fault == Fault::Mute => return,
            // What is owed to the others is written by the next read.
            Ok(_) => continue,
            Err(_) => return,
        };
        number += 1;
        let replies = match fault {
            Fault::Drop if strikes(number) => vec![],
            Fault::Double if strikes(number) => vec![text.clone(), text],
            Fault::Swap if strikes(number) => {
                held = Some(text);
                vec![]
            }
            Fault::Swap => std::iter::once(text).chain(held.take()).collect(),
            Fault::Change if strikes(number) => vec![text.to_uppercase().into()],
            Fault::HangUp if strikes(number) => return,
            Fault::Stall if strikes(number) => {
                std::thread::sleep(STALL);
                vec![text]
            }
            _ => vec![text],
        };
        for reply in replies {
            if socket.send(Message::Text(reply)).is_err() {
                return;
            }
        }
    }
}

/// What the sender says goes to all; the fault strikes at the one who came last.
fn broadcast(mut socket: WebSocket<TcpStream>, fault: Fault, room: &Room, strikes: impl Fn(u32) -> bool) {
    let mut held = None;
    let mut number = 0;
    loop {
        let text = match socket.read() {
            Ok(Message::Text(text)) => text,
            Ok(_) => {
                // The pong that is owed, as a whole frame among the others'.
                let _members = room.members();
                let _ = socket.flush();
                continue;
            }
            Err(_) => return,
        };
        number += 1;
        let mut members = room.members();
        let Some((last, others)) = members.split_last_mut() else { return };
        let frame = frame(text.as_str());
        for member in others {
            // One who has left is no matter of this test.
            let _ = member.write_all(&frame);
        }
        let frames = match fault {
            Fault::Drop if strikes(number) => vec![],
            Fault::Double if strikes(number) => [&frame[..], &frame].concat(),
            Fault::Swap if strikes(number) => {
                held = Some(frame);
                vec![]
            }
            Fault::Swap => [frame, held.take().unwrap_or_default()].concat(),
            Fault::Change if strikes(number) => self::frame(&text.to_uppercase()),
            Fault::HangUp if strikes(number) => {
                let _ = last.shutdown(std::net::Shutdown::Both);
                vec![]
            }
            _ => frame,
        };
        let _ = last.write_all(&frames);
    }
}

/// A server's text frame of 126 to 65,535 bytes.
fn frame(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).unwrap().to_be_bytes();
    [&[0x81, 126], &length[..], text.as_bytes()].concat()
}

pub(crate) struct Ran {
    pub(crate) code: Option<i32>,
    /// What it printed, on both.
    pub(crate) text: String,
    /// `null`: it left none.
    pub(crate) report: Value,
}

/// Runs a scenario against a server with this fault; without a warm-up, unless `more` says so.
pub(crate) fn run(scenario: &str, fault: Fault, strikes: Strikes, more: &[&str]) -> Ran {
    let dir = tempfile::tempdir().unwrap();
    let json = dir.path().join("report.json");
    let url = format!("http://{}", serve(fault, strikes));
    let cold = ["--warm-seconds", "0"];
    let output = Command::new(env!("CARGO_BIN_EXE_gochat-perf"))
        .args([scenario, "--url", &url, "--json", json.to_str().unwrap()])
        .args(cold.iter().filter(|_| !more.contains(&cold[0])))
        .args(more)
        .output()
        .unwrap();
    let text =
        String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    let report = std::fs::read(&json).map_or(Value::Null, |bytes| serde_json::from_slice(&bytes).unwrap());
    if report != Value::Null {
        schema::check(&report);
    }
    Ran { code: output.status.code(), text, report }
}

/// The same, for a run that leaves a report and ends with this code.
#[track_caller]
pub(crate) fn report(scenario: &str, fault: Fault, strikes: Strikes, more: &[&str], code: i32) -> Value {
    let ran = run(scenario, fault, strikes, more);
    assert_eq!(ran.code, Some(code), "{scenario} {fault:?} {more:?}: {}", ran.text);
    ran.report
}

/// What was broken, in words.
pub(crate) fn broken(report: &Value) -> String {
    report["verdict"]["broken"].to_string()
}
