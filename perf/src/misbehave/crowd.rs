//! Somebody who talks to many: messages in world and in a group, so that readers who stopped have something not to read.

use std::io;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tungstenite::client::ClientRequestBuilder;
use tungstenite::{Error, Message, WebSocket};

use crate::config::Target;
use crate::error::LoadError;
use crate::rest::Rest;
use crate::users::User;
use crate::wire;

/// The content of each message: some KiB, for what is not read must pile up.
const CONTENT_BYTES: usize = 2048;
const COME_BACK_AFTER: Duration = Duration::from_secs(1);
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// A running thread with one talker. What he says is not checked: it is there to be delivered.
#[derive(Debug)]
pub(crate) struct Crowd {
    stop: Arc<AtomicBool>,
    said: Arc<AtomicU64>,
    thread: Option<JoinHandle<()>>,
}

impl Crowd {
    /// Makes a group of `talker` and `members`, then talks in it and in world by turns, `rate_per_s` messages a second.
    ///
    /// # Errors
    /// [`LoadError::Rest`]: the group could not be made. [`LoadError::Io`]: the machine has no thread left.
    pub(crate) fn start(
        target: &Target,
        talker: &User,
        members: &[User],
        rate_per_s: f64,
    ) -> Result<Crowd, LoadError> {
        let group = Rest::as_user(target.clone(), &talker.token).make_group("readers", members)?;
        let (stop, said) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let mut talk = Talk {
            target: target.clone(),
            token: talker.token.clone(),
            places: ["world".to_owned(), group],
            every: Duration::from_secs_f64(1.0 / rate_per_s),
            said: said.clone(),
            stop: stop.clone(),
        };
        let thread = std::thread::Builder::new().name("crowd".to_owned()).spawn(move || talk.run());
        let thread = thread.map_err(|source| LoadError::Io { what: "no thread", source })?;
        Ok(Crowd { stop, said, thread: Some(thread) })
    }

    /// Messages that he has sent.
    pub(crate) fn said(&self) -> u64 {
        self.said.load(Ordering::Relaxed)
    }
}

impl Drop for Crowd {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            // A panic was reported by the thread's own hook.
            let _ = thread.join();
        }
    }
}

struct Talk {
    target: Target,
    token: String,
    places: [String; 2],
    every: Duration,
    said: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
}

impl Talk {
    fn run(&mut self) {
        while !self.stop.load(Ordering::Acquire) {
            if let Ok(socket) = self.connect() {
                // A connection that ends is replaced: what was said on it is of no interest.
                let _ = self.talk(socket);
            }
            let again = Instant::now() + COME_BACK_AFTER;
            while Instant::now() < again && !self.stop.load(Ordering::Acquire) {
                std::thread::sleep(LOOK_EVERY);
            }
        }
    }

    #[allow(clippy::result_large_err, reason = "tungstenite's own error type")]
    fn connect(&self) -> Result<WebSocket<TcpStream>, Error> {
        let stream = TcpStream::connect(self.target.addr)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(COME_BACK_AFTER))?;
        let uri = format!("ws://{}/ws", self.target.host).parse().map_err(Error::from)?;
        let request =
            ClientRequestBuilder::new(uri).with_header("Authorization", format!("Bearer {}", self.token));
        let (socket, _) = tungstenite::client(request, stream).map_err(|error| match error {
            tungstenite::HandshakeError::Failure(error) => error,
            tungstenite::HandshakeError::Interrupted(_) => Error::Io(io::ErrorKind::WouldBlock.into()),
        })?;
        socket.get_ref().set_read_timeout(Some(LOOK_EVERY))?;
        Ok(socket)
    }

    #[allow(clippy::result_large_err, reason = "tungstenite's own error type")]
    fn talk(&self, mut socket: WebSocket<TcpStream>) -> Result<(), Error> {
        let connection = fastrand::u64(..);
        let content = "x".repeat(CONTENT_BYTES);
        let mut due = Instant::now();
        for number in 0u64.. {
            while Instant::now() < due {
                if self.stop.load(Ordering::Acquire) {
                    return Ok(());
                }
                match socket.read() {
                    // After a `retry` the server refuses all later ones of this connection: begin a new one.
                    Ok(Message::Text(text)) if text.contains(r#""status":"retry""#) => return Ok(()),
                    Ok(_) => {}
                    Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
                    Err(error) => return Err(error),
                }
            }
            due += self.every;
            let place = &self.places[number as usize % 2];
            let id = format!("crowd-{connection:x}-{number}");
            socket.send(Message::text(wire::send_message(place, &id, &content)))?;
            self.said.fetch_add(1, Ordering::Relaxed);
        }
        Ok(())
    }
}
