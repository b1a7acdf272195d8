//! One bad client: connect, get as far as it needs, misbehave until it is put out, come back a second later.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::frames::{self, frame};
use super::{Fate, Kind};
use crate::config::Target;
use crate::wire;

const COME_BACK_AFTER: Duration = Duration::from_secs(1);
/// Of those who write slowly.
const BYTE_EVERY: Duration = Duration::from_secs(1);
const ABORT_EVERY: Duration = Duration::from_millis(100);
/// A stopped reader's questions, whose answers it never takes.
const ASK_EVERY: Duration = Duration::from_millis(200);
/// So that what is not read piles up at the server and not in the kernel.
const STOPPED_READER_BUFFER_BYTES: usize = 4096;
/// A flooder whose bytes the kernel does not take adds no more to them.
const PENDING_BYTES_MAX: usize = 64 * 1024;

enum Stage {
    /// Not connected, until then.
    Away(Instant),
    /// The upgrade was sent; its answer so far.
    Upgrading(TcpStream, Vec<u8>),
    Misbehaving(TcpStream),
}

pub(super) struct BadClient {
    pub(super) fate: Fate,
    target: Target,
    token: String,
    flood_frames_per_turn: u32,
    stage: Stage,
    /// Not taken by the kernel yet.
    pending: Vec<u8>,
    next_at: Instant,
    /// Steps of misbehaving since it connected.
    steps: usize,
}

impl BadClient {
    pub(super) fn new(kind: Kind, target: Target, token: String, flood_frames_per_turn: u32) -> BadClient {
        let now = Instant::now();
        BadClient {
            fate: Fate::new(kind),
            target,
            token,
            flood_frames_per_turn,
            stage: Stage::Away(now),
            pending: Vec::new(),
            next_at: now,
            steps: 0,
        }
    }

    /// A little of what it does; never waits.
    pub(super) fn turn(&mut self, now: Instant) {
        match std::mem::replace(&mut self.stage, Stage::Away(now)) {
            Stage::Away(until) if now < until => self.stage = Stage::Away(until),
            Stage::Away(_) => self.begin(now),
            Stage::Upgrading(stream, head) => self.upgrade(stream, head, now),
            Stage::Misbehaving(stream) => self.misbehave(stream, now),
        }
    }

    fn begin(&mut self, now: Instant) {
        self.pending.clear();
        self.steps = 0;
        self.next_at = now;
        match self.connect() {
            Ok(stream) if self.fate.kind.upgrades() => {
                self.pending = frames::upgrade(&self.target.host, &self.token);
                self.stage = Stage::Upgrading(stream, Vec::new());
            }
            Ok(stream) => {
                self.fate.misbehaved += 1;
                self.stage = Stage::Misbehaving(stream);
            }
            Err(_) => self.end(now, |fate| fate.failed += 1),
        }
    }

    /// Each kind has an address of its own, where the server is on loopback: limits for each address meet it and
    /// not the good users.
    fn connect(&self) -> io::Result<TcpStream> {
        let socket = Socket::new(Domain::for_address(self.target.addr), Type::STREAM, Some(Protocol::TCP))?;
        socket.set_nonblocking(true)?;
        socket.set_tcp_nodelay(true)?;
        if self.fate.kind == Kind::StoppedReader {
            socket.set_recv_buffer_size(STOPPED_READER_BUFFER_BYTES)?;
        }
        if self.target.addr.ip().is_loopback() && self.target.addr.is_ipv4() {
            let source = Ipv4Addr::new(127, 250, 0, 1 + self.fate.kind as u8);
            socket.bind(&SockAddr::from(SocketAddr::from((source, 0))))?;
        }
        match socket.connect(&SockAddr::from(self.target.addr)) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => Err(error),
            _ => Ok(socket.into()),
        }
    }

    fn end(&mut self, now: Instant, count: impl FnOnce(&mut Fate)) {
        count(&mut self.fate);
        self.stage = Stage::Away(now + COME_BACK_AFTER);
    }

    fn upgrade(&mut self, mut stream: TcpStream, mut head: Vec<u8>, now: Instant) {
        let mut chunk = [0; 512];
        let read = if self.write_pending(&mut stream) { stream.read(&mut chunk) } else { Ok(0) };
        match read {
            Err(error) if is_early(&error) => self.stage = Stage::Upgrading(stream, head),
            Ok(0) | Err(_) => self.end(now, |fate| fate.failed += 1),
            Ok(read) => {
                head.extend_from_slice(&chunk[..read]);
                if !head.windows(4).any(|end| end == b"\r\n\r\n") {
                    self.stage = Stage::Upgrading(stream, head);
                } else if head.starts_with(b"HTTP/1.1 101") {
                    self.fate.misbehaved += 1;
                    self.stage = Stage::Misbehaving(stream);
                } else {
                    self.end(now, |fate| fate.refused += 1);
                }
            }
        }
    }

    fn misbehave(&mut self, mut stream: TcpStream, now: Instant) {
        if self.fate.kind == Kind::AbortedHandshake && self.steps > 0 {
            // Dropped with what it has to read unread, or not: what counts is the missing rest of the head.
            let _ = socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            self.stage = Stage::Away(now + ABORT_EVERY);
            return;
        }
        if now >= self.next_at && self.pending.len() < PENDING_BYTES_MAX {
            self.step(now);
            self.steps += 1;
        }
        let lives =
            self.write_pending(&mut stream) && (self.fate.kind == Kind::StoppedReader || drain(&mut stream));
        if lives {
            self.stage = Stage::Misbehaving(stream);
        } else {
            self.end(now, |fate| fate.ended_by_server += 1);
        }
    }

    /// Adds to the pending bytes what comes next.
    fn step(&mut self, now: Instant) {
        match self.fate.kind {
            Kind::StoppedReader => {
                let question = wire::sync("world", 0, 100, "unread");
                self.pending.extend(frame(frames::TEXT, question.as_bytes()));
                self.next_at = now + ASK_EVERY;
            }
            Kind::SlowWriter => {
                let whole = frame(frames::TEXT, &[b' '; 1000]);
                self.pending.push(whole[self.steps % whole.len()]);
                self.next_at = now + BYTE_EVERY;
            }
            Kind::SlowHead => {
                let whole = frames::upgrade(&self.target.host, &self.token);
                self.pending.push(whole[self.steps % whole.len()]);
                self.next_at = now + BYTE_EVERY;
            }
            Kind::PingFlood => {
                let ping = frame(frames::PING, b"0123456789");
                self.pending.extend(ping.repeat(self.flood_frames_per_turn as usize));
            }
            Kind::FragmentFlood => {
                let first = if self.steps == 0 { frames::TEXT_UNFINISHED } else { frames::MORE };
                self.pending.extend(frame(first, b" "));
                let more = frame(frames::MORE, b" ");
                self.pending.extend(more.repeat(self.flood_frames_per_turn as usize - 1));
            }
            Kind::AbortedHandshake => {
                let whole = frames::upgrade(&self.target.host, &self.token);
                self.pending.extend(&whole[..whole.len() / 2]);
            }
            Kind::HalfOpen | Kind::Silent => {}
        }
    }

    /// False: the connection is gone.
    fn write_pending(&mut self, stream: &mut TcpStream) -> bool {
        while !self.pending.is_empty() {
            match stream.write(&self.pending) {
                Ok(0) => return false,
                Ok(written) => drop(self.pending.drain(..written)),
                Err(error) if is_early(&error) => return true,
                Err(_) => return false,
            }
        }
        // Who writes nothing learns of a failed connect or a reset here.
        matches!(stream.take_error(), Ok(None))
    }
}

/// Linux, all architectures that we build for.
const EINPROGRESS: i32 = 115;

/// Not yet connected, or nothing to do now.
fn is_early(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected | io::ErrorKind::Interrupted
    )
}

/// Reads and forgets. False: the server has ended the connection.
fn drain(stream: &mut TcpStream) -> bool {
    let mut chunk = [0; 4096];
    loop {
        match stream.read(&mut chunk) {
            Ok(0) => return false,
            Ok(_) => {}
            Err(error) => return is_early(&error),
        }
    }
}
