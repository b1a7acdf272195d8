//! The connections of one thread: how they come, and how bytes go over them.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll, Token};
use tungstenite::{Message, WebSocket};

use super::Plan;
use super::count::{Counter, Expected, PING_FRAME};
use crate::swarm::socket::{self, Received, Socket, Step};
use crate::swarm::{Control, Pacer};
use crate::tally::Counters;

/// Handshakes of one thread under way at a time.
const CONNECTING_MAX: usize = 128;
const READ_BUFFER_BYTES: usize = 64 * 1024;

enum Wire {
    /// To be connected.
    Idle,
    Early(Socket),
    Counted(Box<Counted>),
    Checked(Box<WebSocket<TcpStream>>),
    /// It ended, and is not replaced: what it had on the wire is lost.
    Gone,
}

/// All frames are alike, so what is to be written is a number of bytes.
struct Counted {
    stream: TcpStream,
    counter: Counter,
    owed_bytes: usize,
    /// How much of the frame under way is written.
    written_bytes: usize,
}

struct Connection {
    wire: Wire,
    /// It was pinged, and has not answered.
    owes_pong: bool,
}

/// What came over a connection.
pub(super) enum Came<'a> {
    /// So many replies, on a connection that is only counted.
    Counted(u64),
    Checked(&'a str),
}

pub(super) struct Wires {
    plan: Arc<Plan>,
    control: Arc<Control>,
    poll: Poll,
    connections: Vec<Connection>,
    expected: Expected,
    connect_pacer: Pacer,
    /// Connections that were begun: those before this one.
    begun: usize,
    /// Of these, handshakes under way.
    connecting: usize,
    thread: usize,
    read_buffer: Vec<u8>,
}

impl Wires {
    /// # Errors
    /// No epoll instance.
    pub(super) fn new(
        plan: Arc<Plan>,
        control: Arc<Control>,
        expected: Expected,
        thread: usize,
    ) -> io::Result<Wires> {
        let mine = (0..plan.connections).skip(thread).step_by(plan.threads);
        Ok(Wires {
            poll: Poll::new()?,
            connections: mine.map(|_| Connection { wire: Wire::Idle, owes_pong: false }).collect(),
            expected,
            connect_pacer: Pacer::new(plan.connects_per_s, thread, plan.threads, 0),
            begun: 0,
            connecting: 0,
            thread,
            read_buffer: vec![0; READ_BUFFER_BYTES],
            plan,
            control,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.connections.len()
    }

    /// Which of the load's connections this is.
    pub(super) fn index(&self, at: usize) -> usize {
        self.thread + at * self.plan.threads
    }

    pub(super) fn is_checked(&self, at: usize) -> bool {
        self.index(at).is_multiple_of(self.plan.checked_every)
    }

    pub(super) fn is_gone(&self, at: usize) -> bool {
        matches!(self.connections[at].wire, Wire::Gone)
    }

    /// `false`: the kernel has no more events for this thread.
    pub(super) fn poll(&mut self, events: &mut Events, patience: Duration) -> bool {
        match self.poll.poll(events, Some(patience)) {
            Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                self.control.counters.note_trouble(|| format!("poll: {error}"));
                false
            }
            _ => true,
        }
    }

    /// Begins as many handshakes as are due and allowed.
    pub(super) fn connect_some(&mut self, now_us: u64) {
        while self.connecting < CONNECTING_MAX {
            let at = self.begun;
            if at >= self.connections.len() {
                return;
            }
            if self.index(at) as u64 >= self.control.connect_limit() {
                return self.connect_pacer.forget_before(now_us);
            }
            if self.connect_pacer.due(now_us).is_none() {
                return;
            }
            let source = socket::source_for(&self.plan.target, self.index(at));
            match socket::connect(&self.plan.target, source, self.poll.registry(), Token(at)) {
                Ok(socket) => {
                    (self.connecting, self.begun) = (self.connecting + 1, at + 1);
                    self.connections[at].wire = Wire::Early(socket);
                }
                Err(error) => return self.control.counters.note_trouble(|| format!("connect: {error}")),
            }
        }
    }

    /// Goes on with a handshake; `false`: this connection is not in one.
    pub(super) fn go_on_connecting(&mut self, at: usize) -> bool {
        let early = match std::mem::replace(&mut self.connections[at].wire, Wire::Gone) {
            Wire::Early(early) => early,
            other => {
                self.connections[at].wire = other;
                return false;
            }
        };
        match socket::advance(early, &self.plan.target, &self.plan.path, None) {
            Step::Waiting(early) => self.connections[at].wire = Wire::Early(early),
            Step::Opened(Socket::Open(open)) => {
                self.connecting -= 1;
                self.connections[at].wire = self.opened(at, open);
                Counters::add(&self.control.counters.connected);
            }
            // Such a load needs its connections: the caller waits for them in vain, and is told why.
            Step::Refused { why, .. } | Step::Failed(why) => {
                self.connecting -= 1;
                Counters::add(&self.control.counters.connect_failures);
                self.control.counters.note_trouble(|| why);
            }
            Step::Opened(_) => {}
        }
        true
    }

    fn opened(&self, at: usize, open: Box<WebSocket<TcpStream>>) -> Wire {
        if self.is_checked(at) {
            return Wire::Checked(open);
        }
        // Nothing was said yet, so the library holds no bytes back.
        let (stream, counter) = (open.into_inner(), Counter::new(&self.expected));
        Wire::Counted(Box::new(Counted { stream, counter, owed_bytes: 0, written_bytes: 0 }))
    }

    /// Writes `count` more messages, as far as the kernel takes them: the first of `frames`, which are alike, or on a checked
    /// connection `texts`.
    pub(super) fn write(
        &mut self,
        at: usize,
        count: usize,
        frames: &Frames,
        texts: impl FnOnce() -> Vec<String>,
    ) {
        let written = match &mut self.connections[at].wire {
            Wire::Counted(counted) => {
                counted.owed_bytes += count * frames.frame_bytes;
                counted.write(frames)
            }
            Wire::Checked(socket) => socket::send(socket, texts().into_iter()),
            _ => Ok(()),
        };
        if let Err(why) = written {
            self.lose(at, why);
        }
    }

    /// Asks every connection for a pong, which comes behind all that the server has sent before.
    pub(super) fn ping_all(&mut self) {
        for at in 0..self.connections.len() {
            let Connection { wire, owes_pong } = &mut self.connections[at];
            let written = match wire {
                Wire::Counted(counted) => counted.ping(),
                Wire::Checked(socket) => socket::ping(socket),
                _ => continue,
            };
            *owes_pong = true;
            if let Err(why) = written {
                self.lose(at, why);
            }
        }
    }

    /// Connections whose pong has not come.
    pub(super) fn silent(&self) -> usize {
        let owing = self.connections.iter().filter(|connection| connection.owes_pong);
        owing.filter(|connection| !matches!(connection.wire, Wire::Gone)).count()
    }

    /// Reads what is there and gives it to `take`; with `is_to_end` until the connection's end.
    pub(super) fn read(&mut self, at: usize, is_to_end: bool, take: impl FnMut(Came<'_>)) {
        if let Err(why) = self.try_read(at, is_to_end, take) {
            self.lose(at, why);
        }
    }

    fn try_read(&mut self, at: usize, is_to_end: bool, mut take: impl FnMut(Came<'_>)) -> Result<(), String> {
        let Connection { wire, owes_pong } = &mut self.connections[at];
        match wire {
            Wire::Counted(counted) => loop {
                let count = match counted.stream.read(&mut self.read_buffer) {
                    Ok(0) => return Err("the server closed the connection".to_owned()),
                    Ok(count) => count,
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error.to_string()),
                };
                let Ok(taken) = counted.counter.take(&self.read_buffer[..count]) else {
                    Counters::add(&self.control.counters.bad_frames);
                    return Err("a frame that is no reply".to_owned());
                };
                *owes_pong &= taken.pongs == 0;
                if taken.replies > 0 {
                    take(Came::Counted(taken.replies));
                }
                // More than that was not there, and of what comes later the poll tells: a call saved for each message.
                if count < self.read_buffer.len() && !is_to_end {
                    return Ok(());
                }
            },
            Wire::Checked(socket) => loop {
                match socket::receive(socket) {
                    Received::Frame(Message::Text(text)) => take(Came::Checked(text.as_str())),
                    Received::Frame(Message::Pong(_)) => *owes_pong = false,
                    Received::Frame(Message::Binary(_)) => {
                        Counters::add(&self.control.counters.bad_frames);
                        return Err("a binary message that is no reply".to_owned());
                    }
                    Received::Frame(_) => {}
                    Received::Drained => return Ok(()),
                    Received::Closed(why) => return Err(why),
                }
            },
            _ => Ok(()),
        }
    }

    fn lose(&mut self, at: usize, why: String) {
        self.connections[at].wire = Wire::Gone;
        Counters::add(&self.control.counters.disconnects);
        self.control.counters.note_trouble(|| why);
    }
}

/// Frames that are all alike, one after the other, as many as are written at once.
#[derive(Default)]
pub(super) struct Frames {
    bytes: Vec<u8>,
    frame_bytes: usize,
}

impl Frames {
    pub(super) fn new(frame: &[u8], at_once: usize) -> Frames {
        Frames { bytes: frame.repeat(at_once), frame_bytes: frame.len() }
    }
}

impl Counted {
    fn write(&mut self, frames: &Frames) -> Result<(), String> {
        while self.owed_bytes > 0 {
            let until = frames.bytes.len().min(self.written_bytes + self.owed_bytes);
            match self.stream.write(&frames.bytes[self.written_bytes..until]) {
                Ok(count) => {
                    self.owed_bytes -= count;
                    self.written_bytes = (self.written_bytes + count) % frames.frame_bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }

    /// Only while nothing is owed: a ping within a frame would be a part of it.
    fn ping(&mut self) -> Result<(), String> {
        match self.stream.write(&PING_FRAME) {
            Ok(count) if count == PING_FRAME.len() => Ok(()),
            Ok(_) => Err("no room for a ping".to_owned()),
            Err(error) => Err(format!("a ping could not be written: {error}")),
        }
    }
}
