//! A server of a few hundred lines that keeps everything in memory: a thread for each connection, tungstenite,
//! and one fault of choice at every fifth message.

mod session;
mod world;

use std::collections::HashMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gochat_perf::Target;
use gochat_perf::users::User;
use serde_json::{Value, json};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};

use session::{Session, frame};
use world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    None,
    // Allowed by the protocol.
    DropStoredAck,
    DropAcceptedAck,
    DropDelivery,
    DoubleDelivery,
    DelayDelivery,
    Retry,
    Disconnect,
    Reject,
    /// A `gap` instead of the delivery.
    Gap,
    /// The receivers are too slow, whatever they do: closed with 1013.
    TooSlow,
    /// Every third upgrade is refused with 503 and `Retry-After: 1`.
    Busy,
    // Broken promises.
    /// No ack of any kind, however often it is sent again.
    NeverAck,
    /// A message that nobody sent.
    MakeUp,
    ForgetStored,
    ForgetAccepted,
    StoreTwice,
    NewIdAtResend,
    SkipSeq,
    SwapOrder,
    OtherOrderForOne,
    AckOtherSeq,
    ChangeContent,
    /// As `Busy`, without a `Retry-After`.
    BusyWithoutTime,
}

pub(crate) struct Fake {
    pub(crate) addr: SocketAddr,
    pub(crate) world: Arc<Mutex<World>>,
    fault: Fault,
    down: Arc<AtomicBool>,
    accepting: Option<JoinHandle<()>>,
}

impl Fake {
    pub(crate) fn start(fault: Fault) -> Fake {
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        let mut fake =
            Fake { addr: any, world: Arc::default(), fault, down: Arc::default(), accepting: None };
        fake.listen();
        fake
    }

    pub(crate) fn target(&self) -> Target {
        Target::parse(&self.url()).unwrap()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    /// Ends every connection and the listener at once.
    pub(crate) fn kill(&mut self) {
        self.down.store(true, Ordering::SeqCst);
        let _ = TcpStream::connect(self.addr);
        if let Some(accepting) = self.accepting.take() {
            accepting.join().unwrap();
        }
        self.world.lock().unwrap().online.clear();
    }

    /// Comes back on the same port with the same world.
    pub(crate) fn listen(&mut self) {
        let listener = TcpListener::bind(self.addr).unwrap();
        self.addr = listener.local_addr().unwrap();
        self.down = Arc::default();
        let (world, fault, down) = (self.world.clone(), self.fault, self.down.clone());
        self.accepting = Some(std::thread::spawn(move || {
            let mut connections = Vec::new();
            for (number, stream) in (0..).zip(listener.incoming()) {
                if down.load(Ordering::SeqCst) {
                    break;
                }
                let (world, down) = (world.clone(), down.clone());
                connections.push(std::thread::spawn(move || {
                    // A connection that ends in an error has simply ended.
                    let _ = serve(stream?, number, fault, &world, &down);
                    Ok::<(), io::Error>(())
                }));
            }
            drop(listener);
            for connection in connections {
                let _ = connection.join().unwrap();
            }
        }));
    }
}

impl Drop for Fake {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Users 1..=count with tokens that the fake takes.
pub(crate) fn users(count: u64) -> Vec<User> {
    (1..=count).map(|id| User { id, token: format!("user-{id}") }).collect()
}

fn serve(
    mut stream: TcpStream,
    number: u64,
    fault: Fault,
    world: &Mutex<World>,
    down: &AtomicBool,
) -> Result<(), Box<dyn std::error::Error>> {
    stream.set_nodelay(true)?;
    let mut first = [0; 64];
    let peeked = stream.peek(&mut first)?;
    if !first[..peeked].starts_with(b"GET /ws ") {
        return serve_rest(&mut stream, fault, world);
    }
    let mut user = 0;
    #[allow(clippy::result_large_err, reason = "tungstenite's own callback type")]
    let callback = |request: &Request, response: Response| -> Result<Response, ErrorResponse> {
        if number % 3 == 2 && matches!(fault, Fault::Busy | Fault::BusyWithoutTime) {
            let mut refused = ErrorResponse::new(Some(r#"{"error":{"code":1013}}"#.to_owned()));
            *refused.status_mut() = tungstenite::http::StatusCode::SERVICE_UNAVAILABLE;
            if fault == Fault::Busy {
                refused.headers_mut().insert("retry-after", tungstenite::http::HeaderValue::from_static("1"));
            }
            return Err(refused);
        }
        let token = request.headers().get("authorization").and_then(|value| value.to_str().ok());
        match token.and_then(|token| token.strip_prefix("Bearer user-")?.parse().ok()) {
            Some(id) => user = id,
            None => {
                let mut refused = ErrorResponse::new(Some(r#"{"error":{"code":1006}}"#.to_owned()));
                *refused.status_mut() = tungstenite::http::StatusCode::UNAUTHORIZED;
                return Err(refused);
            }
        }
        Ok(response)
    };
    let socket = tungstenite::accept_hdr(stream, callback).map_err(|error| error.to_string())?;
    socket.get_ref().set_read_timeout(Some(Duration::from_millis(1)))?;
    let (mail, inbox) = channel();
    world.lock().unwrap().online.entry(user).or_default().push((number, mail.clone()));
    let hello = json!({"protocol": 1, "userId": user.to_string(), "heartbeatMs": 30_000, "epoch": 1, "headsIntervalMs": 300_000});
    mail.send(frame("hello", hello))?;
    let mut session = Session { user, fault, world, mail, refused: HashMap::new() };
    let ended = session.run(socket, &inbox, down);
    let mut world = world.lock().unwrap();
    world.online.entry(user).or_default().retain(|(other, _)| *other != number);
    ended
}

/// Register, login, groups, histories and metrics: enough for the command line.
fn serve_rest(
    stream: &mut TcpStream,
    fault: Fault,
    world: &Mutex<World>,
) -> Result<(), Box<dyn std::error::Error>> {
    let mut buffer = vec![0; 4096];
    let read = stream.read(&mut buffer)?;
    let request = String::from_utf8_lossy(&buffer[..read]);
    let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
    let name = serde_json::from_str::<Value>(body).unwrap_or_default()["username"].clone();
    // Users are numbered as their names end: p-{run}-{index}.
    let id = name.as_str().and_then(|name| name.rsplit('-').next()?.parse::<u64>().ok()).unwrap_or(0) + 1;
    let (status, answer) = match request.split_whitespace().nth(1) {
        Some(path) if path.starts_with("/api/conversations/") => {
            history(path, fault, &mut world.lock().unwrap())
        }
        Some("/api/auth/register") => ("201 Created", json!({"userId": id.to_string()}).to_string()),
        Some("/api/auth/login") => {
            let answer =
                json!({"userId": id.to_string(), "deviceId": "d", "accessToken": format!("user-{id}")});
            ("200 OK", answer.to_string())
        }
        Some("/api/groups") => {
            // Deliveries go by the name: the owner, whose token it is, and the members.
            let owner = request.split("Bearer user-").nth(1).and_then(|rest| rest.split_whitespace().next());
            let members: Value = serde_json::from_str(body).unwrap_or_default();
            let members = members["memberIds"].as_array().into_iter().flatten().filter_map(Value::as_str);
            let name = owner.into_iter().chain(members).collect::<Vec<_>>().join("_");
            ("201 Created", json!({"groupId": "0", "conversationId": format!("group_{name}")}).to_string())
        }
        Some("/metrics") => ("200 OK", world.lock().unwrap().metrics()),
        _ => ("404 Not Found", String::new()),
    };
    let length = answer.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}")?;
    Ok(())
}

/// `/api/conversations/{id}/messages?limit=…` and `…/read`.
fn history(path: &str, fault: Fault, world: &mut World) -> (&'static str, String) {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let (conversation, what) =
        path.trim_start_matches("/api/conversations/").split_once('/').unwrap_or_default();
    if fault == Fault::BusyWithoutTime {
        return ("503 Service Unavailable", String::new());
    }
    if what == "read" {
        return ("204 No Content", String::new());
    }
    let number = |key: &str| query.split('&').find_map(|pair| pair.strip_prefix(key)?.parse::<u64>().ok());
    match world.newest(conversation, number("before_seq="), number("limit=").unwrap() as usize) {
        Some(messages) => ("200 OK", json!({"messages": messages, "hasMore": false}).to_string()),
        None => ("404 Not Found", String::new()),
    }
}
