//! One thread: an epoll loop over its connections.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Poll, Token};
use tungstenite::{Message, WebSocket};

use super::EchoConfig;
use super::count::{Counter, client_frame};
use super::line::Line;
use crate::checker::{ConversationHistory, Entry, MemberHistory, MessageKey, SendRecord, Stored};
use crate::swarm::socket::{self, Received, Socket, Step};
use crate::swarm::{Control, Pacer};
use crate::tally::{Counters, Latencies};

/// What a thread brings home.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    /// On connections that are only counted.
    pub(super) lost: u64,
    pub(super) unasked: u64,
    /// Connections that were checked, each as a conversation with itself.
    pub(super) checked: Vec<ConversationHistory>,
}

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

struct Conn {
    wire: Wire,
    line: Line,
    /// `None`: this connection is only counted.
    history: Option<ConversationHistory>,
    index: usize,
}

pub(super) struct Worker {
    config: Arc<EchoConfig>,
    control: Arc<Control>,
    poll: Poll,
    conns: Vec<Conn>,
    /// Frames one after the other, as many as are written at once.
    frames: Vec<u8>,
    frame_bytes: usize,
    latencies: Latencies,
    pacer: Option<Pacer>,
    connect_pacer: Pacer,
    /// Connections that were begun: those before this index.
    begun: usize,
    /// Of these, handshakes under way.
    connecting: usize,
    /// Whose turn it is to send.
    next: usize,
    hand_over_at_us: u64,
    read_buffer: Vec<u8>,
    /// Replies that have not been told to the counters.
    answered: u64,
    thread: usize,
}

const EVENTS_MAX: usize = 1024;
const IDLE_US: u64 = 20_000;
const HAND_OVER_US: u64 = 100_000;
const CONNECTING_MAX: usize = 128;
const FRAMES_AT_ONCE: usize = 32;

impl Worker {
    /// # Errors
    /// No epoll instance.
    pub(super) fn new(config: Arc<EchoConfig>, control: Arc<Control>, thread: usize) -> io::Result<Worker> {
        let mine = (0..config.connections).filter(|index| index % config.threads == thread);
        let frame = client_frame(&vec![b'e'; config.message_bytes]);
        Ok(Worker {
            poll: Poll::new()?,
            conns: mine.map(|index| Conn::new(index, &config)).collect(),
            frames: frame.repeat(config.depth.min(FRAMES_AT_ONCE)),
            frame_bytes: frame.len(),
            latencies: Latencies::default(),
            pacer: None,
            connect_pacer: Pacer::new(config.connects_per_s, thread, config.threads, 0),
            begun: 0,
            connecting: 0,
            next: 0,
            hand_over_at_us: 0,
            read_buffer: vec![0; 64 * 1024],
            answered: 0,
            thread,
            config,
            control,
        })
    }

    pub(super) fn run(mut self) -> Harvest {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let now_us = self.control.now_us();
            self.connect_some(now_us);
            // Before the look at the end: a thread that wakes up late for it still sends all that became due.
            self.send_due(now_us);
            if self.control.is_abandoned() || self.is_over(now_us) {
                break;
            }
            if now_us >= self.hand_over_at_us {
                self.hand_over_at_us = now_us + HAND_OVER_US;
                self.hand_over();
            }
            if let Err(error) = self.poll.poll(&mut events, Some(self.idle_time()))
                && error.kind() != io::ErrorKind::Interrupted
            {
                self.control.counters.note_trouble(|| format!("poll: {error}"));
                break;
            }
            for event in &events {
                self.on_event(event.token().0);
            }
        }
        self.hand_over();
        self.harvest()
    }

    /// Everything is answered, or the time for it is over.
    fn is_over(&self, now_us: u64) -> bool {
        let give_up_at_us = self.control.give_up_at_us();
        let is_all_sent = now_us >= self.control.send_until_us();
        let is_answered = |conn: &Conn| matches!(conn.wire, Wire::Gone) || conn.line.unanswered() == 0;
        give_up_at_us != u64::MAX
            && (now_us >= give_up_at_us || is_all_sent && self.conns.iter().all(is_answered))
    }

    fn hand_over(&mut self) {
        self.control.hand_over(&mut self.latencies);
        Counters::add_many(&self.control.counters.delivered, std::mem::take(&mut self.answered));
    }

    fn harvest(self) -> Harvest {
        let mut harvest = Harvest::default();
        for conn in self.conns {
            match conn.history {
                Some(history) => harvest.checked.push(history),
                None => {
                    harvest.lost += conn.line.unanswered() as u64;
                    harvest.unasked += conn.line.unasked;
                }
            }
        }
        harvest
    }

    fn connect_some(&mut self, now_us: u64) {
        while self.connecting < CONNECTING_MAX {
            let at = self.begun;
            if at >= self.conns.len() || self.connect_pacer.due(now_us).is_none() {
                return;
            }
            let source = socket::source_for(&self.config.target, self.conns[at].index);
            match socket::connect(&self.config.target, source, self.poll.registry(), Token(at)) {
                Ok(socket) => {
                    (self.connecting, self.begun) = (self.connecting + 1, at + 1);
                    self.conns[at].wire = Wire::Early(socket);
                }
                Err(error) => return self.control.counters.note_trouble(|| format!("connect: {error}")),
            }
        }
    }

    /// Lets what became due be written, or at the begin of a closed loop as much as may be on the wire.
    fn send_due(&mut self, now_us: u64) {
        let (from_us, until_us) = (self.control.send_from_us(), self.control.send_until_us());
        if from_us > now_us {
            return;
        }
        if self.config.rate_per_s <= 0.0 {
            // A closed loop begins once; replies keep it going.
            if self.pacer.is_none() {
                self.pacer = Some(Pacer::new(1.0, 0, 1, u64::MAX));
                for at in 0..self.conns.len() {
                    (0..self.config.depth).for_each(|_| self.conns[at].line.push(now_us));
                    self.write(at);
                }
            }
            return;
        }
        let pacer = self.pacer.get_or_insert_with(|| {
            Pacer::new(self.config.rate_per_s, self.thread, self.config.threads, from_us)
        });
        let mut due = Vec::new();
        due.extend(std::iter::from_fn(|| pacer.due(now_us.min(until_us.saturating_sub(1)))));
        for due_us in due {
            let at = self.next % self.conns.len();
            self.next = at + 1;
            self.latencies.lateness.record(now_us.saturating_sub(due_us));
            self.conns[at].line.push(due_us);
            self.write(at);
        }
    }

    fn idle_time(&self) -> Duration {
        let now_us = self.control.now_us();
        let from_us = self.control.send_from_us().saturating_sub(now_us);
        let pacer = self.pacer.as_ref().filter(|_| now_us < self.control.send_until_us());
        let wait_us = pacer.map_or(from_us, |pacer| pacer.wait_us(now_us));
        Duration::from_micros(wait_us.min(IDLE_US))
    }

    fn on_event(&mut self, at: usize) {
        match std::mem::replace(&mut self.conns[at].wire, Wire::Gone) {
            Wire::Early(early) => self.go_on_connecting(at, early),
            wire => {
                self.conns[at].wire = wire;
                self.write(at);
                self.read(at);
            }
        }
    }

    fn go_on_connecting(&mut self, at: usize, early: Socket) {
        match socket::advance(early, &self.config.target, &self.config.path, None) {
            Step::Waiting(early) => self.conns[at].wire = Wire::Early(early),
            Step::Opened(Socket::Open(open)) => {
                self.connecting -= 1;
                self.conns[at].open(open, self.config.message_bytes);
                Counters::add(&self.control.counters.connected);
            }
            // A test of echoes needs its connections: the caller waits for them in vain, and is told why.
            Step::Refused { why, .. } | Step::Failed(why) => {
                self.connecting -= 1;
                Counters::add(&self.control.counters.connect_failures);
                self.control.counters.note_trouble(|| why);
            }
            Step::Opened(_) => {}
        }
    }

    fn write(&mut self, at: usize) {
        let conn = &mut self.conns[at];
        let written = match &mut conn.wire {
            Wire::Counted(counted) => {
                let count = conn.line.depart(self.config.depth);
                Counters::add_many(&self.control.counters.sent, count as u64);
                counted.owed_bytes += count * self.frame_bytes;
                counted.write(&self.frames, self.frame_bytes)
            }
            Wire::Checked(socket) => {
                let count = conn.line.depart(self.config.depth);
                Counters::add_many(&self.control.counters.sent, count as u64);
                let index = conn.index;
                let sends = conn.history.as_mut().map(|history| &mut history.members[0].sends);
                let sends = sends
                    .into_iter()
                    .flat_map(|sends| (0..count).map(|_| next_send(sends)).collect::<Vec<_>>());
                let texts = sends.map(|n| content(index, n, self.config.message_bytes));
                socket::send(socket, texts)
            }
            _ => Ok(()),
        };
        if let Err(why) = written {
            self.lose(at, why);
        }
    }

    fn lose(&mut self, at: usize, why: String) {
        self.conns[at].wire = Wire::Gone;
        Counters::add(&self.control.counters.disconnects);
        self.control.counters.note_trouble(|| why);
    }

    /// Reads until nothing is left.
    fn read(&mut self, at: usize) {
        let began = self.answered;
        let ended = self.read_all(at);
        if self.answered > began {
            self.write(at);
        }
        if let Err(why) = ended {
            self.lose(at, why);
        }
    }

    fn read_all(&mut self, at: usize) -> Result<(), String> {
        let Worker { conns, read_buffer, control, config, latencies, answered, .. } = self;
        let Conn { wire, line, history, index } = &mut conns[at];
        let now_us = control.now_us();
        let is_open_loop = config.rate_per_s > 0.0;
        let goes_on = !is_open_loop && now_us < control.send_until_us();
        let mut arrive = |line: &mut Line| {
            *answered += 1;
            if let Some(due_us) = line.arrive().filter(|_| is_open_loop) {
                latencies.echo.record(now_us.saturating_sub(due_us));
            }
            if goes_on {
                line.push(now_us);
            }
        };
        match wire {
            Wire::Counted(counted) => loop {
                match counted.stream.read(read_buffer) {
                    Ok(0) => return Err("the server closed the connection".to_owned()),
                    Ok(count) => {
                        let Ok(replies) = counted.counter.take(&read_buffer[..count]) else {
                            Counters::add(&control.counters.bad_frames);
                            return Err("a frame that is no reply".to_owned());
                        };
                        (0..replies).for_each(|_| arrive(line));
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                    Err(error) => return Err(error.to_string()),
                }
            },
            Wire::Checked(socket) => loop {
                match socket::receive(socket) {
                    Received::Frame(Message::Text(text)) => {
                        arrive(line);
                        if let Some(history) = history {
                            note_reply(&mut history.members[0], *index, text.as_str(), config.message_bytes);
                        }
                    }
                    Received::Frame(_) => {}
                    Received::Drained => return Ok(()),
                    Received::Closed(why) => return Err(why),
                }
            },
            _ => Ok(()),
        }
    }
}

impl Conn {
    fn new(index: usize, config: &EchoConfig) -> Conn {
        let history = index.is_multiple_of(config.checked_every).then(|| ConversationHistory {
            id: format!("connection {index}"),
            base_seq: 0,
            members: vec![MemberHistory::default()],
        });
        Conn { wire: Wire::Idle, line: Line::default(), history, index }
    }

    fn open(&mut self, open: Box<WebSocket<TcpStream>>, message_bytes: usize) {
        self.wire = if self.history.is_some() {
            Wire::Checked(open)
        } else {
            // Nothing was said yet, so the library holds no bytes back.
            let counter = Counter::new(message_bytes);
            let stream = open.into_inner();
            Wire::Counted(Box::new(Counted { stream, counter, owed_bytes: 0, written_bytes: 0 }))
        };
    }
}

impl Counted {
    fn write(&mut self, frames: &[u8], frame_bytes: usize) -> Result<(), String> {
        while self.owed_bytes > 0 {
            let until = frames.len().min(self.written_bytes + self.owed_bytes);
            match self.stream.write(&frames[self.written_bytes..until]) {
                Ok(count) => {
                    self.owed_bytes -= count;
                    self.written_bytes = (self.written_bytes + count) % frame_bytes;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error.to_string()),
            }
        }
        Ok(())
    }
}

/// An echo is its own acknowledgement: a message counts as promised when it is written, for the checker to miss it.
fn next_send(sends: &mut Vec<SendRecord>) -> u64 {
    let n = sends.len() as u64;
    let stored = Some(Stored { seq: n + 1, message_id: n + 1 });
    sends.push(SendRecord { accepted: true, stored, ..SendRecord::default() });
    n
}

/// Which message of which connection, filled up to the size.
fn content(index: usize, n: u64, bytes: usize) -> String {
    let mut text = format!("{index}-{n}-");
    text.extend(std::iter::repeat_n('e', bytes.saturating_sub(text.len())));
    text
}

fn note_reply(member: &mut MemberHistory, index: usize, text: &str, bytes: usize) {
    let n = text.split('-').nth(1).and_then(|n| n.parse::<u64>().ok());
    let ours = n.filter(|n| *n < member.sends.len() as u64 && text == content(index, *n, bytes));
    // What nobody wrote stands at the place where it came.
    let seq = ours.unwrap_or(member.page.len() as u64) + 1;
    let key = ours.map(|n| MessageKey { member: 0, n: n as u32 });
    let entry = Entry { seq, message_id: seq, key };
    member.page.push(entry);
    member.deliveries.push(entry);
}
