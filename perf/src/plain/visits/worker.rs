//! One thread: an epoll loop over its visits.

use std::io::{self, Read, Write};
use std::sync::Arc;
use std::time::Duration;

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::VisitsConfig;
use super::visit::{CLOSE_FRAME, Next, Script, Visit};
use crate::swarm::{Control, Pacer, socket};
use crate::tally::{Counters, Latencies};

/// What a thread brings home.
#[derive(Debug)]
pub(super) struct Harvest {
    /// Visits that were due and not done when the time was over.
    pub(super) unfinished: u64,
}

/// Room for one visit at a time.
#[derive(Debug, Default)]
struct Slot {
    /// `None`: it is free.
    stream: Option<TcpStream>,
    visit: Visit,
    /// The upgrade is written.
    is_asked: bool,
    due_us: u64,
    began_us: u64,
}

pub(super) struct Worker {
    config: Arc<VisitsConfig>,
    control: Arc<Control>,
    poll: Poll,
    slots: Vec<Slot>,
    free: Vec<usize>,
    script: Script,
    latencies: Latencies,
    pacer: Option<Pacer>,
    look_at_us: u64,
    read_buffer: Vec<u8>,
    /// Visits done in this turn.
    done: u64,
    thread: usize,
}

const EVENTS_MAX: usize = 1024;
const IDLE_US: u64 = 20_000;
/// How often latencies are handed over and visits that take too long are looked for.
const LOOK_US: u64 = 100_000;
const READ_BUFFER_BYTES: usize = 16 * 1024;

impl Worker {
    /// # Errors
    /// No epoll instance.
    pub(super) fn new(config: Arc<VisitsConfig>, control: Arc<Control>, thread: usize) -> io::Result<Worker> {
        let slots = (thread..config.concurrent).step_by(config.threads).count();
        Ok(Worker {
            poll: Poll::new()?,
            slots: std::iter::repeat_with(Slot::default).take(slots).collect(),
            free: (0..slots).rev().collect(),
            script: Script::new(&config.target.host, &config.path, config.message_bytes, config.closes),
            latencies: Latencies::default(),
            pacer: None,
            look_at_us: 0,
            read_buffer: vec![0; READ_BUFFER_BYTES],
            done: 0,
            thread,
            config,
            control,
        })
    }

    pub(super) fn run(mut self) -> Harvest {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let now_us = self.control.now_us();
            self.begin_due(now_us);
            if self.control.is_abandoned() || self.is_over(now_us) {
                break;
            }
            if now_us >= self.look_at_us {
                self.look_at_us = now_us + LOOK_US;
                self.control.hand_over(&mut self.latencies);
                self.end_those_that_last(now_us);
            }
            let wait = Duration::from_micros(self.idle_us(now_us));
            if let Err(error) = self.poll.poll(&mut events, Some(wait))
                && error.kind() != io::ErrorKind::Interrupted
            {
                self.control.counters.note_trouble(|| format!("poll: {error}"));
                break;
            }
            for event in &events {
                self.on_event(event.token().0, event.is_read_closed());
            }
            Counters::add_many(&self.control.counters.delivered, std::mem::take(&mut self.done));
        }
        self.control.hand_over(&mut self.latencies);
        Harvest { unfinished: self.unfinished() }
    }

    /// Begins as many visits as are due, or fit in a closed loop. What is due beyond that is asked for when there is room.
    fn begin_due(&mut self, now_us: u64) {
        let (from_us, until_us) = (self.control.send_from_us(), self.control.send_until_us());
        if from_us > now_us {
            return;
        }
        while let Some(at) = self.free.last().copied() {
            let Some(due_us) = self.next_due(now_us, from_us, until_us) else { return };
            self.free.pop();
            if due_us >= from_us + self.config.warm_us {
                self.latencies.lateness.record(now_us.saturating_sub(due_us));
            }
            self.begin(at, due_us, now_us);
        }
    }

    fn next_due(&mut self, now_us: u64, from_us: u64, until_us: u64) -> Option<u64> {
        let VisitsConfig { rate_per_s, threads, .. } = *self.config;
        if rate_per_s <= 0.0 {
            return (now_us < until_us).then_some(now_us);
        }
        let pacer = self.pacer.get_or_insert_with(|| Pacer::new(rate_per_s, self.thread, threads, from_us));
        pacer.due(now_us.min(until_us.saturating_sub(1)))
    }

    fn idle_us(&self, now_us: u64) -> u64 {
        if now_us < self.control.send_from_us() {
            return (self.control.send_from_us() - now_us).min(IDLE_US);
        }
        // With no room, an end makes some.
        let pacer = self.pacer.as_ref().filter(|_| !self.free.is_empty());
        pacer
            .filter(|_| now_us < self.control.send_until_us())
            .map_or(IDLE_US, |pacer| pacer.wait_us(now_us).min(IDLE_US))
    }

    fn is_over(&self, now_us: u64) -> bool {
        let give_up_at_us = self.control.give_up_at_us();
        let is_done = now_us >= self.control.send_until_us() && self.free.len() == self.slots.len();
        give_up_at_us != u64::MAX && (is_done || now_us >= give_up_at_us)
    }

    /// Those that are on, and those that never had room.
    fn unfinished(&mut self) -> u64 {
        let until_us = self.control.send_until_us();
        let waiting = self
            .pacer
            .as_mut()
            .map_or(0, |pacer| std::iter::from_fn(|| pacer.due(until_us.saturating_sub(1))).count());
        (self.slots.len() - self.free.len() + waiting) as u64
    }

    fn begin(&mut self, at: usize, due_us: u64, now_us: u64) {
        Counters::add(&self.control.counters.sent);
        let slot = &mut self.slots[at];
        slot.visit.reset();
        (slot.due_us, slot.began_us, slot.is_asked) = (due_us, now_us, false);
        let source = socket::source_for(&self.config.target, self.thread + at * self.config.threads);
        let dialled = socket::dial(&self.config.target, source).and_then(|mut stream| {
            socket::reset_at_close(&stream);
            // On loopback the connection is often there at once: an event saved.
            slot.is_asked = ask(&mut stream, &self.script)?;
            let more =
                if slot.is_asked { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE };
            self.poll.registry().register(&mut stream, Token(at), more)?;
            Ok(stream)
        });
        match dialled {
            Ok(stream) => slot.stream = Some(stream),
            Err(error) => self.fail(at, format!("connect: {error}")),
        }
    }

    fn on_event(&mut self, at: usize, is_to_end: bool) {
        match self.go_on(at, is_to_end) {
            Ok(Next::Over) => {
                self.done += 1;
                self.leave(at);
            }
            Ok(_) => {}
            Err(why) => self.fail(at, why),
        }
    }

    /// As far as it gets without waiting: [`Next::Wait`] or [`Next::Over`].
    fn go_on(&mut self, at: usize, is_to_end: bool) -> Result<Next, String> {
        let Slot { stream: Some(stream), visit, is_asked, due_us, .. } = &mut self.slots[at] else {
            // An event of the slot's last visit.
            return Ok(Next::Wait);
        };
        if !*is_asked {
            *is_asked = ask(stream, &self.script).map_err(|error| format!("connect: {error}"))?;
            return Ok(Next::Wait);
        }
        loop {
            let count = match stream.read(&mut self.read_buffer) {
                Ok(0) => return visit.end(),
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(Next::Wait),
                Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return visit.end(),
                Err(error) => return Err(error.to_string()),
            };
            let mut next = visit.hear(&self.read_buffer[..count], &self.script)?;
            while next != Next::Wait {
                if matches!(next, Next::Close | Next::Over) {
                    let measured_from_us = self.control.send_from_us() + self.config.warm_us;
                    if self.config.rate_per_s > 0.0 && *due_us >= measured_from_us {
                        let now_us = self.control.now_us();
                        self.latencies.handshake.record(now_us.saturating_sub(*due_us));
                    }
                }
                match next {
                    Next::Message => say(stream, &self.script.message)?,
                    Next::Close => say(stream, &CLOSE_FRAME)?,
                    Next::Over | Next::Wait => return Ok(next),
                }
                next = visit.hear(&[], &self.script)?;
            }
            // More than that was not there, and of what comes later the poll tells: a call saved for each step. Behind a
            // close frame the end often is there already.
            if count < self.read_buffer.len() && !is_to_end && !visit.is_closed() {
                return Ok(Next::Wait);
            }
        }
    }

    fn end_those_that_last(&mut self, now_us: u64) {
        for at in 0..self.slots.len() {
            let slot = &self.slots[at];
            if slot.stream.is_some() && now_us > slot.began_us + self.config.visit_max_us {
                let waited_ms = (now_us - slot.began_us) / 1000;
                self.fail(at, format!("waited {waited_ms} ms for {}", self.slots[at].visit.awaited()));
            }
        }
    }

    fn fail(&mut self, at: usize, why: String) {
        Counters::add(&self.control.counters.connect_failures);
        self.control.counters.note_trouble(|| why);
        self.leave(at);
    }

    /// Closes the socket, with a reset.
    fn leave(&mut self, at: usize) {
        self.slots[at].stream = None;
        self.free.push(at);
    }
}

/// Writes the upgrade; `false`: the connection is not there yet.
fn ask(stream: &mut TcpStream, script: &Script) -> io::Result<bool> {
    match stream.write(&script.request) {
        Ok(count) if count == script.request.len() => Ok(true),
        Ok(_) => Err(io::Error::other("no room for the upgrade")),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::NotConnected) => {
            Ok(false)
        }
        Err(error) => Err(error),
    }
}

/// A new connection has room for what a visit says.
fn say(stream: &mut TcpStream, bytes: &[u8]) -> Result<(), String> {
    match stream.write(bytes) {
        Ok(count) if count == bytes.len() => Ok(()),
        Ok(_) => Err("no room for a message".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
