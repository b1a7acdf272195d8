//! A server of a few hundred lines that keeps everything in memory: a thread for each connection, tungstenite,
//! and one fault of choice at every `EVERY`th message.

use std::collections::{BTreeSet, HashMap};
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

use gochat_perf::Target;
use gochat_perf::users::User;
use serde_json::{Value, json};
use tungstenite::handshake::server::{ErrorResponse, Request, Response};
use tungstenite::{Error, Message, WebSocket};

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
    /// Every third upgrade is refused with 503 and `Retry-After: 1`.
    Busy,
    // Broken promises.
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

/// The fault strikes at messages 5, 10, 15, …
const EVERY: u64 = 5;

#[derive(Debug, Clone)]
struct Stored {
    seq: u64,
    id: u64,
    sender: u64,
    client_msg_id: String,
    content: String,
}

impl Stored {
    fn json(&self, conversation: &str) -> Value {
        json!({"messageId": self.id.to_string(), "conversationId": conversation, "sender": self.sender.to_string(),
            "content": self.content, "messageType": "text", "seqId": self.seq,
            "clientMsgId": self.client_msg_id, "createdAt": 1_700_000_000_000u64})
    }
}

/// All that the server knows; outlives its death.
#[derive(Default)]
pub(crate) struct World {
    conversations: HashMap<String, Vec<Stored>>,
    online: HashMap<u64, Vec<(u64, Sender<Value>)>>,
    /// A message that waits until its sender's next one is stored (SwapOrder), or a delivery that waits.
    held: HashMap<String, Stored>,
    delayed: HashMap<u64, Value>,
    messages: u64,
    ids: u64,
}

impl World {
    /// History from before the load: the load's seqs start above it.
    pub(crate) fn preload(&mut self, conversation: &str, messages: u64) {
        for _ in 0..messages {
            let stored =
                Stored { seq: 0, id: 0, sender: 1, client_msg_id: "old".into(), content: "old".into() };
            self.store(conversation, stored, 0);
        }
    }

    /// As if the disk had lied: the newest message of every conversation is gone.
    pub(crate) fn lose_newest(&mut self) {
        self.conversations.values_mut().for_each(|messages| drop(messages.pop()));
    }

    /// Who wrote in a conversation.
    pub(crate) fn writers(&self, conversation: &str) -> BTreeSet<u64> {
        self.conversations[conversation].iter().map(|message| message.sender).collect()
    }

    fn store(&mut self, conversation: &str, mut message: Stored, skip: u64) -> Stored {
        self.ids += 1;
        let messages = self.conversations.entry(conversation.to_owned()).or_default();
        message.seq = messages.last().map_or(0, |last| last.seq) + 1 + skip;
        message.id = 1_000_000 + self.ids;
        messages.push(message.clone());
        message
    }

    fn last_seq(&self, conversation: &str) -> u64 {
        self.conversations.get(conversation).and_then(|messages| messages.last()).map_or(0, |last| last.seq)
    }

    fn page(&self, conversation: &str, after: u64, limit: usize) -> (Vec<Value>, bool) {
        let none = Vec::new();
        let messages = self.conversations.get(conversation).unwrap_or(&none);
        let mut rest = messages.iter().filter(|message| message.seq > after);
        let page = rest.by_ref().take(limit).map(|message| message.json(conversation)).collect();
        (page, rest.next().is_some())
    }
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
        return serve_rest(&mut stream);
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

/// Register, login, groups and metrics: enough for the command line.
fn serve_rest(stream: &mut TcpStream) -> Result<(), Box<dyn std::error::Error>> {
    let mut buffer = vec![0; 4096];
    let read = stream.read(&mut buffer)?;
    let request = String::from_utf8_lossy(&buffer[..read]);
    let body = request.split("\r\n\r\n").nth(1).unwrap_or_default();
    let name = serde_json::from_str::<Value>(body).unwrap_or_default()["username"].clone();
    // Users are numbered as their names end: p-{run}-{index}.
    let id = name.as_str().and_then(|name| name.rsplit('-').next()?.parse::<u64>().ok()).unwrap_or(0) + 1;
    let (status, answer) = match request.split_whitespace().nth(1) {
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
        Some("/metrics") => ("200 OK", format!("process_pid {}\n# EOF\n", std::process::id())),
        _ => ("404 Not Found", String::new()),
    };
    let length = answer.len();
    write!(stream, "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{answer}")?;
    Ok(())
}

fn frame(kind: &str, data: Value) -> Value {
    json!({"type": kind, "data": data, "timestamp": 1})
}

struct Session<'a> {
    user: u64,
    fault: Fault,
    world: &'a Mutex<World>,
    mail: Sender<Value>,
    /// After a `retry`: the message that must come back first, for each conversation.
    refused: HashMap<String, String>,
}

impl Session<'_> {
    fn run(
        &mut self,
        mut socket: WebSocket<TcpStream>,
        inbox: &Receiver<Value>,
        down: &AtomicBool,
    ) -> Result<(), Box<dyn std::error::Error>> {
        while !down.load(Ordering::SeqCst) {
            match socket.read() {
                Ok(Message::Text(text)) => {
                    let request: Value = serde_json::from_str(text.as_str())?;
                    if !self.handle(&request) {
                        return Ok(());
                    }
                }
                Ok(_) => {}
                Err(Error::Io(error))
                    if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) => {}
                Err(error) => return Err(error.into()),
            }
            for frame in inbox.try_iter() {
                socket.write(Message::text(frame.to_string()))?;
            }
            socket.flush()?;
        }
        Ok(())
    }

    fn tell(&self, frame: Value) {
        // The receiver lives as long as this session.
        let _ = self.mail.send(frame);
    }

    /// False: hang up.
    fn handle(&mut self, request: &Value) -> bool {
        let data = &request["data"];
        match request["type"].as_str() {
            Some("send-message") => return self.on_send(data),
            Some("heads") => self.on_heads(data),
            Some("sync") => self.on_sync(data, &request["id"]),
            Some("ping") => self.tell(frame("pong", json!({}))),
            _ => self.tell(frame(
                "error",
                json!({"code": 1000, "name": "invalid-input", "message": "unknown type"}),
            )),
        }
        true
    }

    fn on_heads(&mut self, data: &Value) {
        let world = self.world.lock().unwrap();
        let mut changed = vec![json!({"conversationId": "world", "lastSeq": 7})];
        let mut pages = Vec::new();
        for (conversation, have) in data["conversations"].as_object().unwrap() {
            let (have, last) = (have.as_u64().unwrap(), world.last_seq(conversation));
            if conversation != "world" && last > have {
                changed.push(json!({"conversationId": conversation, "lastSeq": last}));
                if let Some(limit) = data["pageLimit"].as_u64() {
                    let (messages, more) = world.page(conversation, have, limit as usize);
                    pages.push(json!({"conversationId": conversation, "messages": messages, "hasMore": more, "epoch": 1}));
                }
            }
        }
        self.tell(frame("heads", json!({"changed": changed, "epoch": 1})));
        pages.into_iter().for_each(|page| self.tell(frame("sync-page", page)));
    }

    fn on_sync(&mut self, data: &Value, id: &Value) {
        let conversation = data["conversationId"].as_str().unwrap();
        let limit = data["limit"].as_u64().unwrap().min(3) as usize;
        let world = self.world.lock().unwrap();
        let (mut messages, more) = world.page(conversation, data["afterSeq"].as_u64().unwrap(), limit);
        if self.fault == Fault::OtherOrderForOne && self.user.is_multiple_of(2) && messages.len() > 1 {
            let (first, second) = (messages[0]["seqId"].clone(), messages[1]["seqId"].clone());
            (messages[0]["seqId"], messages[1]["seqId"]) = (second, first);
            messages.swap(0, 1);
        }
        let mut page = frame(
            "sync-page",
            json!({"conversationId": conversation, "messages": messages, "hasMore": more, "epoch": 1}),
        );
        if !id.is_null() {
            page["id"] = id.clone();
        }
        self.tell(page);
    }

    fn ack(&self, client_msg_id: &str, status: &str, more: Value) {
        let mut data = json!({"tempMessageId": client_msg_id, "status": status});
        data.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        self.tell(frame("message-ack", data));
    }

    fn on_send(&mut self, data: &Value) -> bool {
        let text = |key: &str| data[key].as_str().unwrap().to_owned();
        let (conversation, client_msg_id) = (text("conversationId"), text("clientMsgId"));
        let world = self.world;
        let mut world = world.lock().unwrap();
        let messages = world.conversations.entry(conversation.clone()).or_default();
        if let Some(known) = messages.iter().find(|known| known.client_msg_id == client_msg_id) {
            let id = if self.fault == Fault::NewIdAtResend { known.id + 500_000 } else { known.id };
            self.ack(&client_msg_id, "stored", json!({"messageId": id.to_string(), "seqId": known.seq}));
            return true;
        }
        if self.refused.get(&conversation).is_some_and(|first| *first != client_msg_id) {
            self.ack(&client_msg_id, "retry", json!({"code": 1013, "retryAfterMs": 20}));
            return true;
        }
        world.messages += 1;
        let strikes = world.messages.is_multiple_of(EVERY);
        if strikes && self.fault == Fault::Retry && !self.refused.contains_key(&conversation) {
            self.ack(&client_msg_id, "retry", json!({"code": 1013, "retryAfterMs": 20}));
            self.refused.insert(conversation, client_msg_id);
            return true;
        }
        self.refused.remove(&conversation);
        let message = Stored { seq: 0, id: 0, sender: self.user, client_msg_id, content: text("content") };
        let fault = if strikes { self.fault } else { Fault::None };
        self.store_and_tell(&mut world, &conversation, message, fault)
    }

    fn store_and_tell(
        &self,
        world: &mut World,
        conversation: &str,
        mut message: Stored,
        fault: Fault,
    ) -> bool {
        let client_msg_id = message.client_msg_id.clone();
        match fault {
            Fault::Reject => {
                self.ack(&client_msg_id, "rejected", json!({"code": 1002, "name": "permission-denied"}));
                return true;
            }
            Fault::ForgetAccepted => {
                // A place that it never gets.
                self.ack(&client_msg_id, "accepted", json!({}));
                world.ids += 1;
                let id = world.ids.to_string();
                self.ack(
                    &client_msg_id,
                    "stored",
                    json!({"messageId": id, "seqId": world.last_seq(conversation) + 1}),
                );
                return true;
            }
            Fault::SwapOrder if !world.held.contains_key(conversation) => {
                self.ack(&client_msg_id, "accepted", json!({}));
                world.held.insert(conversation.to_owned(), message);
                return true;
            }
            Fault::ChangeContent => message.content.push('!'),
            _ => {}
        }
        if fault != Fault::DropAcceptedAck {
            self.ack(&client_msg_id, "accepted", json!({}));
        }
        let held = world.held.get(conversation).filter(|held| held.sender == self.user).cloned();
        let stored = world.store(conversation, message, u64::from(fault == Fault::SkipSeq));
        if held.as_ref().is_some_and(|held| held.client_msg_id != client_msg_id) {
            world.held.remove(conversation);
        }
        if fault == Fault::StoreTwice {
            let again = world.store(conversation, stored.clone(), 0);
            self.deliver(world, conversation, &again, Fault::None);
        }
        let seq = if fault == Fault::AckOtherSeq { stored.seq + 100 } else { stored.seq };
        if !matches!(fault, Fault::DropStoredAck | Fault::NewIdAtResend) {
            self.ack(&client_msg_id, "stored", json!({"messageId": stored.id.to_string(), "seqId": seq}));
        }
        if fault == Fault::NewIdAtResend {
            self.ack(
                &client_msg_id,
                "stored",
                json!({"messageId": (stored.id + 500_000).to_string(), "seqId": seq}),
            );
            self.ack(&client_msg_id, "stored", json!({"messageId": stored.id.to_string(), "seqId": seq}));
        }
        if fault == Fault::ForgetStored {
            world.conversations.get_mut(conversation).unwrap().pop();
        } else {
            self.deliver(world, conversation, &stored, fault);
        }
        if let Some(held) = held.filter(|held| held.client_msg_id != client_msg_id) {
            let late = world.store(conversation, held, 0);
            let id = late.id.to_string();
            self.ack(&late.client_msg_id, "stored", json!({"messageId": id, "seqId": late.seq}));
            self.deliver(world, conversation, &late, Fault::None);
        }
        fault != Fault::Disconnect
    }

    /// To every session of the users that the conversation's name lists: `single_{lo}_{hi}`, `group_{a}_{b}_{c}`.
    fn deliver(&self, world: &mut World, conversation: &str, message: &Stored, fault: Fault) {
        let live = frame("new-message", message.json(conversation));
        for user in conversation.split('_').skip(1).map(|user| user.parse::<u64>().unwrap()) {
            let is_receiver = user != self.user;
            if fault == Fault::DropDelivery && is_receiver {
                continue;
            }
            let waiting = world.delayed.remove(&user);
            if fault == Fault::DelayDelivery && is_receiver {
                world.delayed.insert(user, live.clone());
                continue;
            }
            for (_, mail) in world.online.get(&user).into_iter().flatten() {
                let _ = mail.send(live.clone());
                if fault == Fault::DoubleDelivery {
                    let _ = mail.send(live.clone());
                }
                if let Some(waiting) = &waiting {
                    let _ = mail.send(waiting.clone());
                }
            }
        }
    }
}
