//! The server that the tests talk to, and the clients (tungstenite, or plain sockets) that talk to it.
#![allow(dead_code, unreachable_pub, reason = "each test file uses a part of it")]

use gochat_core::{
    App, CloseReason, Config, ConnId, Cx, Driver, Engine, Frame, Mailboxes, Outcome, Priority, Request,
    RequestId, Response, SendOutcome, ShardStats, StartError, Upgrade,
};
use socket2::{Domain, Socket, Type};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};
use tungstenite::{Message, WebSocket};

/// Nothing in a test takes this long; a test that waits for it has failed.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// Keys of connections for which a callback panics, and a timer that does.
pub const OPEN_PANICS: u64 = 9_001;
pub const CLOSE_PANICS: u64 = 9_002;
pub const ROOM_PANICS: u64 = 9_003;
pub const TIMER_PANICS: u64 = 11;

/// What the app was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Told {
    Open { shard: usize, key: u64 },
    Close { shard: usize, key: u64, session: String, reason: CloseReason },
    Pending(RequestId),
    Timer(u64),
    Mail(u32),
    Outcome(SendOutcome),
    Room { key: u64 },
}

/// What tests post.
pub enum Post {
    Number(u32),
    Answer(RequestId, Response),
    ToKey(u64, String),
    DroppableToKey(u64, String),
    ToAll(String, Priority),
    /// Blocks the shard until the sender is dropped.
    Hold(Receiver<()>),
    Panic,
}

/// An app that does as its clients say.
pub struct Puppet {
    told: Sender<Told>,
}

impl App for Puppet {
    type Session = String;
    type Mail = Post;

    fn on_request(&mut self, cx: &mut Cx<'_, Self>, request: &Request<'_>, id: RequestId) -> Outcome<String> {
        match request.path {
            "/ws" => {
                let key =
                    request.query.and_then(|query| query.strip_prefix("key=")?.parse().ok()).unwrap_or(1);
                let session = request.header("x-session").unwrap_or("none").to_owned();
                let protocol = request.header("sec-websocket-protocol").map(str::to_owned);
                Outcome::Upgrade(Upgrade { key, session, protocol })
            }
            "/echo" => Outcome::Respond(
                Response::new(200).header("content-type", "text/plain").body(request.body.to_vec()),
            ),
            "/client" => Outcome::Respond(Response::new(200).body(request.client_ip.to_string())),
            "/pending" => {
                let _ = self.told.send(Told::Pending(id));
                Outcome::Pending
            }
            "/at-once" => {
                assert!(cx.respond(id, Response::new(202)));
                Outcome::Pending
            }
            "/panic" => panic!("asked to"),
            "/large" => Outcome::Respond(Response::new(200).body(vec![b'x'; 4 << 20])),
            _ => Outcome::Respond(Response::new(404)),
        }
    }

    fn on_open(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId) {
        let key = cx.key_of(conn).expect("bound");
        assert!(cx.conns_of(key).contains(&conn));
        assert_ne!(key, OPEN_PANICS, "asked to panic");
        let _ = self.told.send(Told::Open { shard: cx.shard(), key });
    }

    fn on_text(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId, text: &str) {
        let (command, rest) = text.split_once(' ').unwrap_or((text, ""));
        match command {
            "panic" => panic!("asked to"),
            "session" => {
                let session = cx.session(conn).expect("here").clone();
                let _ = cx.send(conn, &Frame::text(session.as_bytes()), Priority::Keep);
            }
            "close" => cx.close(conn, 4001, rest),
            "timer" => {
                // The tag is also the delay, from 10 ms on.
                let tag: u64 = rest.parse().expect("a number");
                assert!(cx.set_timer(tag.max(10), tag));
            }
            "key" => {
                let (key, text) = rest.split_once(' ').expect("key and text");
                let key = key.parse().expect("a number");
                cx.send_to_key(key, &Frame::text(text.as_bytes()), Priority::Keep);
            }
            _ => {
                let outcome = cx.send(conn, &Frame::text(text.as_bytes()), Priority::Keep);
                if outcome != SendOutcome::Queued {
                    let _ = self.told.send(Told::Outcome(outcome));
                }
            }
        }
    }

    fn on_close(
        &mut self,
        cx: &mut Cx<'_, Self>,
        conn: ConnId,
        key: u64,
        session: String,
        reason: CloseReason,
    ) {
        assert_eq!(cx.send(conn, &Frame::text(b"late"), Priority::Keep), SendOutcome::Gone);
        assert!(!cx.conns_of(key).contains(&conn));
        assert_ne!(key, CLOSE_PANICS, "asked to panic");
        let _ = self.told.send(Told::Close { shard: cx.shard(), key, session, reason });
    }

    fn on_room(&mut self, cx: &mut Cx<'_, Self>, conn: ConnId) {
        let key = cx.key_of(conn).expect("open");
        assert_ne!(key, ROOM_PANICS, "asked to panic");
        let _ = self.told.send(Told::Room { key });
        assert_eq!(cx.send(conn, &Frame::text(b"gap"), Priority::Keep), SendOutcome::Queued);
    }

    fn on_mail(&mut self, cx: &mut Cx<'_, Self>, mail: Post) {
        match mail {
            Post::Number(number) => {
                let _ = self.told.send(Told::Mail(number));
            }
            Post::Answer(id, response) => {
                cx.respond(id, response);
            }
            Post::ToKey(key, text) => {
                cx.send_to_key(key, &Frame::text(text.as_bytes()), Priority::Keep);
            }
            Post::DroppableToKey(key, text) => {
                cx.send_to_key(key, &Frame::text(text.as_bytes()), Priority::Droppable);
            }
            Post::ToAll(text, priority) => {
                cx.send_to_all(&Frame::text(text.as_bytes()), priority);
            }
            Post::Hold(released) => {
                let _ = released.recv();
            }
            Post::Panic => panic!("asked to"),
        }
    }

    fn on_timer(&mut self, _: &mut Cx<'_, Self>, tag: u64) {
        assert_ne!(tag, TIMER_PANICS, "asked to panic");
        let _ = self.told.send(Told::Timer(tag));
    }
}

/// A server under test.
pub struct Server {
    pub engine: Engine<Puppet>,
    pub address: SocketAddr,
    told: Receiver<Told>,
}

/// Quick defaults for tests.
pub fn config() -> Config {
    Config { pin_threads: false, tick_ms: 5, drain_grace_ms: 10, drain_spread_ms: 50, ..Config::default() }
}

/// Runs a test on each driver. Where the sandbox forbids io_uring, epoll alone is left.
pub fn on_each_driver(config: &Config, test: impl Fn(Server)) {
    for driver in [Driver::Uring, Driver::Epoll] {
        match Server::start(Config { driver, ..config.clone() }) {
            Ok(server) => test(server),
            Err(StartError::Driver(error)) if driver == Driver::Uring => {
                // Not by a macro, whose words the test runner keeps to itself.
                let _ = writeln!(
                    std::io::stderr(),
                    "\nNOT TESTED ON IO_URING, which is not available here: {error}\n"
                );
            }
            Err(error) => panic!("{error}"),
        }
    }
}

impl Server {
    pub fn start(config: Config) -> Result<Server, StartError> {
        let (sender, told) = channel();
        let engine = Engine::start(config, move |_| Puppet { told: sender.clone() })?;
        Ok(Server { address: engine.local_addr(), engine, told })
    }

    pub fn mailboxes(&self) -> Mailboxes<Post> {
        self.engine.mailboxes()
    }

    /// Keeps a shard from all work until what is returned is dropped.
    pub fn hold(&self, shard: usize) -> Sender<()> {
        let (release, released) = channel();
        let mailboxes = self.mailboxes();
        mailboxes.shard(shard).post(Post::Hold(released), 1).expect("room");
        while mailboxes.shard(shard).depth() > 0 {
            std::thread::yield_now();
        }
        release
    }

    /// The next thing that the app was told.
    pub fn told(&self) -> Told {
        self.told.recv_timeout(PATIENCE).expect("the app is told in time")
    }

    /// The reason of the next close, openings skipped.
    pub fn closed(&self) -> CloseReason {
        loop {
            if let Told::Close { reason, .. } = self.told() {
                return reason;
            }
        }
    }

    /// Sum of a counter over all shards.
    pub fn sum(&self, counter: impl Fn(&ShardStats) -> u64) -> u64 {
        self.engine.stats().iter().map(counter).sum()
    }

    /// Asks for a counter until it has the value.
    pub fn until(&self, counter: impl Fn(&ShardStats) -> u64, expect: u64) {
        let end = Instant::now() + PATIENCE;
        loop {
            let now = self.sum(&counter);
            if now == expect {
                return;
            }
            assert!(Instant::now() < end, "counted {now}, not {expect}");
            std::thread::yield_now();
        }
    }

    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("a connection");
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// A connection whose client end takes little that it does not read, so that the server soon finds it blocked.
    pub fn connect_narrow(&self) -> TcpStream {
        let socket = Socket::new(Domain::for_address(self.address), Type::STREAM, None).expect("a socket");
        socket.set_recv_buffer_size(4_096).expect("a size");
        socket.connect(&self.address.into()).expect("a connection");
        let stream = TcpStream::from(socket);
        stream.set_read_timeout(Some(PATIENCE)).expect("a timeout");
        stream.set_write_timeout(Some(PATIENCE)).expect("a timeout");
        stream
    }

    /// Upgrades with tungstenite.
    pub fn join(&self, key: u64) -> WebSocket<TcpStream> {
        let url = format!("ws://{}/ws?key={key}", self.address);
        let (socket, answer) = tungstenite::client(url, self.connect()).expect("an upgrade");
        assert_eq!(answer.status(), 101);
        socket
    }

    /// Upgrades with a plain socket, and sends `behind` in the same write.
    pub fn join_plain(&self, key: u64, behind: &[u8]) -> Plain {
        self.join_over(self.connect(), key, behind)
    }

    pub fn join_over(&self, mut stream: TcpStream, key: u64, behind: &[u8]) -> Plain {
        let mut bytes = format!(
            "GET /ws?key={key} HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nX-Session: s{key}\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
        )
        .into_bytes();
        bytes.extend_from_slice(behind);
        stream.write_all(&bytes).expect("written");
        let mut plain = Plain { stream };
        let head = plain.head();
        assert!(head.starts_with("HTTP/1.1 101 "), "{head}");
        plain
    }
}

/// A client without a protocol of its own.
pub struct Plain {
    pub stream: TcpStream,
}

impl Plain {
    /// Reads an HTTP head, byte by byte so that nothing behind it is taken.
    pub fn head(&mut self) -> String {
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            self.stream.read_exact(&mut byte).expect("a head");
            head.push(byte[0]);
        }
        String::from_utf8(head).expect("ascii")
    }

    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.write_all(bytes).expect("written");
    }

    /// Reads one unmasked frame: first byte and payload.
    pub fn frame(&mut self) -> (u8, Vec<u8>) {
        let mut head = [0; 2];
        self.stream.read_exact(&mut head).expect("a frame");
        let length = match head[1] {
            126 => {
                let mut length = [0; 2];
                self.stream.read_exact(&mut length).expect("a length");
                u16::from_be_bytes(length).into()
            }
            127 => {
                let mut length = [0; 8];
                self.stream.read_exact(&mut length).expect("a length");
                u64::from_be_bytes(length) as usize
            }
            short => usize::from(short),
        };
        let mut payload = vec![0; length];
        self.stream.read_exact(&mut payload).expect("a payload");
        (head[0], payload)
    }

    /// Reads a close frame, whatever comes before it; its code.
    pub fn close_code(&mut self) -> u16 {
        loop {
            let (first, payload) = self.frame();
            if first == 0x88 {
                return u16::from_be_bytes([payload[0], payload[1]]);
            }
        }
    }

    /// Reads to the end of the stream.
    pub fn rest(&mut self) -> Vec<u8> {
        let mut rest = Vec::new();
        self.stream.read_to_end(&mut rest).expect("an orderly end");
        rest
    }
}

/// A masked client frame.
pub fn frame(first: u8, payload: &[u8]) -> Vec<u8> {
    let mask = [0x12, 0x34, 0x56, 0x78];
    let mut bytes = vec![first];
    match payload.len() {
        short @ 0..=125 => bytes.push(0x80 | short as u8),
        middle @ 126..=65_535 => {
            bytes.push(0x80 | 126);
            bytes.extend_from_slice(&(middle as u16).to_be_bytes());
        }
        long => {
            bytes.push(0x80 | 127);
            bytes.extend_from_slice(&(long as u64).to_be_bytes());
        }
    }
    bytes.extend_from_slice(&mask);
    bytes.extend(payload.iter().zip(mask.iter().cycle()).map(|(a, b)| a ^ b));
    bytes
}

/// The text of the next message.
pub fn text(socket: &mut WebSocket<TcpStream>) -> String {
    match socket.read().expect("a message") {
        Message::Text(text) => text.to_string(),
        other => panic!("not a text: {other:?}"),
    }
}

/// Reads until the peer's close frame; its code.
pub fn close_code(socket: &mut WebSocket<TcpStream>) -> u16 {
    loop {
        match socket.read().expect("a close frame") {
            Message::Close(Some(close)) => return close.code.into(),
            Message::Close(None) => return 1005,
            _ => {}
        }
    }
}
