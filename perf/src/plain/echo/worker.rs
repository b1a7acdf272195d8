//! One thread: an epoll loop over its connections.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::Events;

use super::EchoConfig;
use super::line::Line;
use crate::checker::ConversationHistory;
use crate::plain::content::{content, history, note_came, note_sent};
use crate::plain::count::{Expected, client_frame, server_frame};
use crate::plain::wires::{Came, Frames, Wires};
use crate::swarm::{Control, Pacer};
use crate::tally::{Counters, Latencies};

/// What a thread brings home.
#[derive(Debug, Default)]
pub(super) struct Harvest {
    /// On connections that are only counted.
    pub(super) lost: u64,
    pub(super) unasked: u64,
    /// Connections that did not answer a ping at the end.
    pub(super) silent: u64,
    /// Connections that were checked, each as a conversation with itself.
    pub(super) checked: Vec<ConversationHistory>,
}

impl Harvest {
    pub(super) fn add(&mut self, other: Harvest) {
        self.lost += other.lost;
        self.unasked += other.unasked;
        self.silent += other.silent;
        self.checked.extend(other.checked);
    }
}

/// One connection's messages.
struct Talk {
    line: Line,
    /// `None`: this connection is only counted.
    history: Option<ConversationHistory>,
}

pub(super) struct Worker {
    config: Arc<EchoConfig>,
    control: Arc<Control>,
    wires: Wires,
    talks: Vec<Talk>,
    frames: Frames,
    latencies: Latencies,
    pacer: Option<Pacer>,
    /// Whose turn it is to send.
    next: usize,
    hand_over_at_us: u64,
    /// Replies that have not been told to the counters.
    answered: u64,
    /// All is answered, and everybody was asked for a last pong.
    is_ending: bool,
    thread: usize,
}

const EVENTS_MAX: usize = 1024;
const IDLE_US: u64 = 20_000;
const HAND_OVER_US: u64 = 100_000;
const FRAMES_AT_ONCE: usize = 32;

impl Worker {
    /// # Errors
    /// No epoll instance.
    pub(super) fn new(config: Arc<EchoConfig>, control: Arc<Control>, thread: usize) -> io::Result<Worker> {
        let payload = vec![b'e'; config.plan.message_bytes];
        let alike = Expected::Alike(server_frame(&payload).into());
        let wires = Wires::new(config.plan.clone(), control.clone(), alike, thread)?;
        let talk = |at| {
            let id = || format!("connection {}", wires.index(at));
            Talk { line: Line::default(), history: wires.is_checked(at).then(|| history(id(), 1)) }
        };
        Ok(Worker {
            talks: (0..wires.len()).map(talk).collect(),
            wires,
            frames: Frames::new(&client_frame(&payload), config.depth.min(FRAMES_AT_ONCE)),
            latencies: Latencies::default(),
            pacer: None,
            next: 0,
            hand_over_at_us: 0,
            answered: 0,
            is_ending: false,
            thread,
            config,
            control,
        })
    }

    pub(super) fn run(mut self) -> Harvest {
        let mut events = Events::with_capacity(EVENTS_MAX);
        loop {
            let now_us = self.control.now_us();
            self.wires.connect_some(now_us);
            // Before the look at the end: a thread that wakes up late for it still sends all that became due.
            self.send_due(now_us);
            if self.control.is_abandoned() || self.is_over(now_us) {
                break;
            }
            if now_us >= self.hand_over_at_us {
                self.hand_over_at_us = now_us + HAND_OVER_US;
                self.control.hand_over(&mut self.latencies);
            }
            if !self.wires.poll(&mut events, self.idle_time()) {
                break;
            }
            for event in &events {
                let at = event.token().0;
                if !self.wires.go_on_connecting(at) {
                    self.write(at);
                    self.read(at, event.is_read_closed());
                }
            }
            // Each turn, not now and then: what is done in a time is read off here.
            Counters::add_many(&self.control.counters.delivered, std::mem::take(&mut self.answered));
        }
        self.control.hand_over(&mut self.latencies);
        self.harvest()
    }

    /// Everything is answered, a last pong included, behind which nothing more can come; or the time for it is over.
    fn is_over(&mut self, now_us: u64) -> bool {
        let give_up_at_us = self.control.give_up_at_us();
        if give_up_at_us == u64::MAX || now_us >= give_up_at_us {
            return give_up_at_us != u64::MAX;
        }
        let is_answered = |at: usize| self.wires.is_gone(at) || self.talks[at].line.unanswered() == 0;
        if !self.is_ending {
            if now_us < self.control.send_until_us() || !(0..self.wires.len()).all(is_answered) {
                return false;
            }
            self.is_ending = true;
            self.wires.ping_all();
        }
        self.wires.silent() == 0
    }

    fn harvest(self) -> Harvest {
        let mut harvest = Harvest { silent: self.wires.silent() as u64, ..Harvest::default() };
        for talk in self.talks {
            match talk.history {
                Some(history) => harvest.checked.push(history),
                None => {
                    harvest.lost += talk.line.unanswered() as u64;
                    harvest.unasked += talk.line.unasked;
                }
            }
        }
        harvest
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
                for at in 0..self.talks.len() {
                    (0..self.config.depth).for_each(|_| self.talks[at].line.push(now_us));
                    self.write(at);
                }
            }
            return;
        }
        let pacer = self.pacer.get_or_insert_with(|| {
            Pacer::new(self.config.rate_per_s, self.thread, self.config.plan.threads, from_us)
        });
        let mut due = Vec::new();
        due.extend(std::iter::from_fn(|| pacer.due(now_us.min(until_us.saturating_sub(1)))));
        for due_us in due {
            let at = self.next % self.talks.len();
            self.next = at + 1;
            if due_us >= from_us + self.config.warm_us {
                self.latencies.lateness.record(now_us.saturating_sub(due_us));
            }
            self.talks[at].line.push(due_us);
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

    fn write(&mut self, at: usize) {
        let Talk { line, history } = &mut self.talks[at];
        let count = line.depart(self.config.depth);
        if count > 0 {
            Counters::add_many(&self.control.counters.sent, count as u64);
        }
        let (index, bytes) = (self.wires.index(at), self.config.plan.message_bytes);
        self.wires.write(at, count, &self.frames, || {
            let sender = history.iter_mut().map(|history| &mut history.members[0]);
            let numbers = sender.flat_map(|sender| (0..count).map(|_| note_sent(sender)).collect::<Vec<_>>());
            numbers.map(|n| content(index, n, bytes)).collect()
        });
    }

    fn read(&mut self, at: usize, is_to_end: bool) {
        let Talk { line, history } = &mut self.talks[at];
        let (index, bytes) = (self.wires.index(at), self.config.plan.message_bytes);
        let now_us = self.control.now_us();
        let is_open_loop = self.config.rate_per_s > 0.0;
        let goes_on = !is_open_loop && now_us < self.control.send_until_us();
        let measured_from_us = self.control.send_from_us().saturating_add(self.config.warm_us);
        let before = self.answered;
        let (echo, answered) = (&mut self.latencies.echo, &mut self.answered);
        let mut arrive = || {
            *answered += 1;
            let due_us = line.arrive();
            if let Some(due_us) = due_us.filter(|due_us| is_open_loop && *due_us >= measured_from_us) {
                echo.record(now_us.saturating_sub(due_us));
            }
            if goes_on {
                line.push(now_us);
            }
        };
        self.wires.read(at, is_to_end, |came| match came {
            Came::Counted(count) => (0..count).for_each(|_| arrive()),
            Came::Checked(text) => {
                arrive();
                if let Some(history) = history {
                    let member = &mut history.members[0];
                    let sent = member.sends.len() as u64;
                    note_came(member, index, sent, text, bytes);
                }
            }
        });
        if self.answered > before {
            self.write(at);
        }
    }
}
