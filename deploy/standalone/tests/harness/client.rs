//! One open WebSocket of a test. Every wait has one deadline for all that may come meanwhile, and fails with what was waited for and
//! what came instead. What one wait passes over is there for the next: two frames may come in either order.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tungstenite::{Error, Message, WebSocket};

/// What a failure tells of the frames that came instead, at most.
const SHOWN_FRAMES_MAX: usize = 8;
const SHOWN_CHARS_MAX: usize = 200;

/// Frames that waits passed over and that are kept, at most; the oldest goes first. Far more than may be on its way
/// at once in a test that waits for two things; a flood is not kept whole.
const KEPT_FRAMES_MAX: usize = 256;

pub struct Client {
    socket: WebSocket<TcpStream>,
    /// Of one wait, however much comes in it.
    patience: Duration,
    /// What waits passed over, in the order in which it came.
    kept: VecDeque<Value>,
}

/// What a socket gave.
enum Got {
    Frame(Value),
    /// The server's close frame, with its code.
    Close(Option<u16>),
    /// The connection ended without one.
    Gone(Error),
}

/// One wait, and what came in it that was not waited for.
struct Wait {
    what: String,
    deadline: Instant,
    passed_over: usize,
    last: VecDeque<String>,
}

impl Wait {
    fn pass_over(&mut self, what: String) {
        self.passed_over += 1;
        if self.last.len() == SHOWN_FRAMES_MAX {
            self.last.pop_front();
        }
        self.last.push_back(what.chars().take(SHOWN_CHARS_MAX).collect());
    }

    /// `None` when it has lasted too long.
    fn left(&self) -> Option<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        (!left.is_zero()).then_some(left)
    }

    #[track_caller]
    fn fail(&self, end: &str) -> ! {
        let last: Vec<&str> = self.last.iter().map(String::as_str).collect();
        let (what, count, last) = (&self.what, self.passed_over, last.join("\n  "));
        panic!("waited for {what}: {end}; {count} others came instead, the last of them:\n  {last}")
    }
}

impl Client {
    /// `patience` is for each wait as a whole, and for each write.
    pub fn new(socket: WebSocket<TcpStream>, patience: Duration) -> Client {
        socket.get_ref().set_write_timeout(Some(patience)).expect("an option");
        Client { socket, patience, kept: VecDeque::new() }
    }

    pub fn send(&mut self, kind: &str, data: Value) {
        self.send_text(&frame(kind, &data));
    }

    /// Sends any text as a frame.
    pub fn send_text(&mut self, text: &str) {
        self.socket.send(Message::text(text)).expect("the socket takes a frame");
    }

    /// Sends one chat message.
    pub fn say(&mut self, conversation: &str, content: &str, client_msg_id: &str) {
        assert!(self.try_say(conversation, content, client_msg_id), "the socket takes a frame");
    }

    /// As [`Client::say`] for each of these, in one write.
    pub fn say_all<'a>(&mut self, conversation: &str, keys: impl Iterator<Item = &'a str>) {
        for key in keys {
            self.socket
                .write(Message::text(message(conversation, key, key)))
                .expect("the socket takes a frame");
        }
        self.socket.flush().expect("the socket takes a write");
    }

    /// As [`Client::say`]; false when the socket is gone.
    pub fn try_say(&mut self, conversation: &str, content: &str, client_msg_id: &str) -> bool {
        self.socket.send(Message::text(message(conversation, content, client_msg_id))).is_ok()
    }

    /// The oldest text frame that was not taken yet.
    #[allow(clippy::should_implement_trait)] // a closed socket is a failure here, not an end
    #[track_caller]
    pub fn next(&mut self) -> Value {
        if let Some(frame) = self.kept.pop_front() {
            return frame;
        }
        let mut wait = self.wait("a frame");
        self.frame(&mut wait)
    }

    /// As [`Client::next`], or nothing when the socket is gone.
    #[track_caller]
    pub fn try_next(&mut self) -> Option<Value> {
        if let Some(frame) = self.kept.pop_front() {
            return Some(frame);
        }
        let mut wait = self.wait("a frame or the end");
        match self.read(&mut wait) {
            Got::Frame(frame) => Some(frame),
            Got::Close(_) | Got::Gone(_) => None,
        }
    }

    /// The data of the oldest frame of this type for which `wanted` holds and that was not taken yet; others are passed over.
    #[track_caller]
    pub fn wait_for(&mut self, kind: &str, wanted: impl Fn(&Value) -> bool) -> Value {
        let is_it = |frame: &Value| frame["type"] == kind && wanted(&frame["data"]);
        if let Some(at) = self.kept.iter().position(is_it) {
            return self.kept.remove(at).expect("it was found there")["data"].take();
        }
        let mut wait = self.wait(&format!("a {kind} as the test wants it"));
        // Of many only the last are shown, so the others need not be written.
        let hidden = self.kept.len().saturating_sub(SHOWN_FRAMES_MAX);
        wait.passed_over = hidden;
        self.kept.iter().skip(hidden).for_each(|frame| wait.pass_over(frame.to_string()));
        loop {
            let mut frame = self.frame(&mut wait);
            if is_it(&frame) {
                return frame["data"].take();
            }
            wait.pass_over(frame.to_string());
            self.keep(frame);
        }
    }

    fn keep(&mut self, frame: Value) {
        if self.kept.len() == KEPT_FRAMES_MAX {
            self.kept.pop_front();
        }
        self.kept.push_back(frame);
    }

    /// The close code that the server ends this socket with; nothing when it ends without one.
    #[track_caller]
    pub fn wait_for_close(&mut self) -> Option<u16> {
        let mut wait = self.wait("the end of the connection");
        loop {
            match self.read(&mut wait) {
                Got::Frame(frame) => wait.pass_over(frame.to_string()),
                Got::Close(code) => return code,
                Got::Gone(_) => return None,
            }
        }
    }

    fn wait(&self, what: &str) -> Wait {
        let deadline = Instant::now() + self.patience;
        Wait { what: what.to_owned(), deadline, passed_over: 0, last: VecDeque::new() }
    }

    #[track_caller]
    fn frame(&mut self, wait: &mut Wait) -> Value {
        match self.read(wait) {
            Got::Frame(frame) => frame,
            Got::Close(code) => wait.fail(&format!("the server closed with {code:?}")),
            Got::Gone(error) => wait.fail(&format!("the connection ended: {error}")),
        }
    }

    /// What comes next, but for pings and pongs, which are no reason to wait longer.
    #[track_caller]
    fn read(&mut self, wait: &mut Wait) -> Got {
        loop {
            let Some(left) = wait.left() else { wait.fail("in vain") };
            self.socket.get_ref().set_read_timeout(Some(left)).expect("an option");
            match self.socket.read() {
                Ok(Message::Text(text)) => {
                    return Got::Frame(serde_json::from_str(&text).expect("frames are JSON"));
                }
                Ok(Message::Close(frame)) => return Got::Close(frame.map(|frame| frame.code.into())),
                Ok(other) => wait.pass_over(format!("{other:?}")),
                Err(Error::Io(error))
                    if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(error) => return Got::Gone(error),
            }
        }
    }
}

fn frame(kind: &str, data: &Value) -> String {
    json!({"type": kind, "data": data, "timestamp": 0}).to_string()
}

fn message(conversation: &str, content: &str, client_msg_id: &str) -> String {
    let data = json!({"conversationId": conversation, "content": content, "clientMsgId": client_msg_id});
    frame("send-message", &data)
}
