//! One thread of the load: an epoll loop over its clients' sockets. All members of a conversation live in
//! the same thread, so that what one wrote and the other got meet without a lock.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use mio::{Events, Poll, Token};
use tungstenite::Message;

use super::control::Control;
use super::ending::Phase;
use super::outage::Away;
use super::pacer::Pacer;
use super::slow::SlowReading;
use super::socket::{self, Received, Socket, Step};
use super::turns::Turns;
use crate::checker::{ConversationHistory, MemberHistory};
use crate::client::{Client, Naming, Pulse, Seat, Turn};
use crate::config::LoadConfig;
use crate::tally::{Counters, Latencies};
use crate::users::User;
use crate::wire;

/// What a thread brings home.
#[derive(Debug, Default)]
pub(crate) struct Harvest {
    pub(crate) conversations: Vec<ConversationHistory>,
    /// Messages without a final answer.
    pub(crate) unfinished: u64,
    /// Clients that could not read their final history.
    pub(crate) unread: u64,
}

/// A client and its socket.
pub(super) struct Member {
    pub(super) client: Client,
    /// Its place among all sessions of the load.
    pub(super) index: usize,
    token: Box<str>,
    /// Its conversation in this thread; `None`: a session that is only held.
    pub(super) talk: Option<usize>,
    pub(super) socket: Option<Socket>,
    /// When an unfinished handshake is given up.
    connect_until_us: u64,
    connect_at_us: u64,
    pub(super) failures: u32,
    /// From an outage until it is level with the server again.
    pub(super) away: Option<Away>,
    /// When its connection is lost again; `None`: it is a steady one.
    pub(super) flap_at_us: Option<u64>,
    /// `None`: it always reads at once.
    pub(super) slow: Option<SlowReading>,
}

pub(crate) struct Worker {
    pub(super) config: Arc<LoadConfig>,
    pub(super) control: Arc<Control>,
    poll: Poll,
    pub(super) members: Vec<Member>,
    pub(super) talks: Vec<ConversationHistory>,
    naming: Naming,
    /// Since they were last handed over.
    pub(super) latencies: Latencies,
    pub(super) rng: fastrand::Rng,
    pub(super) pacer: Option<Pacer>,
    turns: Turns,
    /// Of the load's turns at writing this thread has so many; 1 is an even share.
    turns_share: f64,
    /// Grows with each turn at writing; a whole one is a burst.
    bursts_owed: f64,
    connecting: usize,
    connect_pacer: Pacer,
    /// This thread's number.
    thread: usize,
    pub(super) phase: Phase,
    pub(super) outages_seen: u64,
    tick_at_us: u64,
    hand_over_at_us: u64,
    out: Vec<String>,
}

/// Deadlines are looked at this often.
const TICK_US: u64 = 50_000;
/// Latencies are handed over this often: each time costs some 20 µs.
const HAND_OVER_US: u64 = 250_000;
const EVENTS_MAX: usize = 1024;

impl Worker {
    /// # Errors
    /// No epoll instance.
    pub(crate) fn new(config: Arc<LoadConfig>, control: Arc<Control>, thread: usize) -> io::Result<Worker> {
        let mut rng = fastrand::Rng::with_seed(config.seed.wrapping_add(config.whole_thread(thread) as u64));
        let (members, talks) = seat_members(&config, thread);
        let (turns, turns_share) = Turns::new(&config, &members, &mut rng);
        Ok(Worker {
            poll: Poll::new()?,
            naming: Naming::new(&config.run, config.content_bytes),
            latencies: Latencies::default(),
            pacer: None,
            turns,
            turns_share,
            bursts_owed: 0.0,
            connecting: 0,
            connect_pacer: config.pacer(config.connects_per_s, thread, 0),
            thread,
            phase: Phase::Load,
            outages_seen: 0,
            tick_at_us: 0,
            hand_over_at_us: 0,
            out: Vec::new(),
            members,
            talks,
            rng,
            config,
            control,
        })
    }

    pub(crate) fn run(mut self) -> Harvest {
        let mut events = Events::with_capacity(EVENTS_MAX);
        while self.phase != Phase::Done && !self.control.is_abandoned() {
            let now_us = self.control.now_us();
            self.heed_outage();
            self.send_due(now_us);
            if now_us >= self.tick_at_us {
                self.tick_at_us = now_us + TICK_US;
                self.flap(now_us);
                self.read_slowly(now_us, TICK_US);
                self.tick_all(now_us);
                self.advance_phase(now_us);
            }
            if now_us >= self.hand_over_at_us {
                self.hand_over_at_us = now_us + HAND_OVER_US;
                self.control.hand_over(&mut self.latencies);
            }
            match self.poll.poll(&mut events, Some(self.idle_time())) {
                Err(error) if error.kind() != io::ErrorKind::Interrupted => {
                    self.control.counters.note_trouble(|| format!("poll: {error}"));
                    break;
                }
                _ => {}
            }
            for event in &events {
                self.on_event(event.token().0, event.is_readable() || event.is_read_closed());
            }
        }
        self.harvest()
    }

    fn harvest(mut self) -> Harvest {
        self.control.hand_over(&mut self.latencies);
        let talking = || self.members.iter().filter(|member| member.talk.is_some());
        Harvest {
            unfinished: talking().map(|member| member.client.unfinished() as u64).sum(),
            unread: talking().filter(|member| !member.client.has_read()).count() as u64,
            conversations: self.talks,
        }
    }

    /// Lets every message that became due be written by the next writer.
    pub(super) fn send_due(&mut self, now_us: u64) {
        if self.pacer.is_none() {
            let from_us = self.control.send_from_us();
            let turns_per_s =
                self.config.rate_per_s * self.turns_share / self.config.habits.messages_per_turn();
            if from_us == u64::MAX || turns_per_s <= 0.0 || self.phase != Phase::Load {
                return;
            }
            self.pacer = Some(self.config.pacer(turns_per_s, self.thread, from_us));
        }
        // What would be due at the very end is not part of the time.
        let until_us = self.control.send_until_us().saturating_sub(1).min(now_us);
        while let Some(due_us) = self.pacer.as_mut().and_then(|pacer| pacer.due(until_us)) {
            let Some(at) = self.turns.next(&mut self.rng) else { return };
            let habits = &self.config.habits;
            self.bursts_owed += habits.burst_share;
            let bursts = self.bursts_owed >= 1.0;
            self.bursts_owed -= f64::from(u8::from(bursts));
            for _ in 0..if bursts { habits.burst_messages } else { 1 } {
                self.with_client(at, |client, turn| client.write(turn, due_us));
            }
        }
    }

    /// How long the loop may sleep. The kernel rounds this up to whole milliseconds.
    fn idle_time(&self) -> Duration {
        let now_us = self.control.now_us();
        let sending = self.pacer.as_ref().filter(|_| now_us < self.control.send_until_us());
        let wait_us = sending.map_or(TICK_US, |pacer| pacer.wait_us(now_us));
        Duration::from_micros(wait_us.min(self.tick_at_us.saturating_sub(now_us)))
    }

    /// Calls into a client, then writes what it wants written.
    pub(super) fn with_client<T>(
        &mut self,
        at: usize,
        call: impl FnOnce(&mut Client, &mut Turn<'_>) -> T,
    ) -> T {
        let member = &mut self.members[at];
        let mut turn = Turn {
            now_us: self.control.now_us(),
            rules: &self.config.rules,
            naming: &self.naming,
            counters: &self.control.counters,
            latencies: &mut self.latencies,
            rng: &mut self.rng,
            talk: member.talk.map(|talk| &mut self.talks[talk]),
            out: &mut self.out,
        };
        let answer = call(&mut member.client, &mut turn);
        if !self.out.is_empty() {
            self.write_out(at);
        }
        answer
    }

    fn write_out(&mut self, at: usize) {
        let sent = match &mut self.members[at].socket {
            Some(Socket::Open(socket)) => socket::send(socket, self.out.drain(..)),
            _ => Ok(()),
        };
        self.out.clear();
        if let Err(why) = sent {
            self.hang_up(at, why);
        }
    }

    fn on_event(&mut self, at: usize, readable: bool) {
        match self.members[at].socket.take() {
            None => {}
            Some(Socket::Open(mut socket)) => {
                let flushed = socket::flush(&mut socket);
                self.members[at].socket = Some(Socket::Open(socket));
                match flushed {
                    Err(why) => self.hang_up(at, why),
                    Ok(()) if readable => self.read_all(at),
                    Ok(()) => {}
                }
            }
            Some(early) => self.go_on_connecting(at, early),
        }
    }

    fn go_on_connecting(&mut self, at: usize, early: Socket) {
        match socket::advance(early, &self.config.target, "/ws", Some(&self.members[at].token)) {
            Step::Waiting(socket) => self.members[at].socket = Some(socket),
            Step::Failed(why) => {
                self.connecting -= 1;
                self.connect_failed(at, why, 0);
            }
            Step::Refused { retry_after_s, why } => {
                self.connecting -= 1;
                let counters = &self.control.counters;
                let refused = match retry_after_s {
                    Some(_) => &counters.refused_with_retry_after,
                    None => &counters.refused_without_retry_after,
                };
                Counters::add(refused);
                self.connect_failed(at, why, retry_after_s.unwrap_or(0).saturating_mul(1000));
            }
            Step::Opened(socket) => {
                self.connecting -= 1;
                let member = &mut self.members[at];
                member.socket = Some(socket);
                member.failures = 0;
                Counters::add(&self.control.counters.connected);
                self.note_back(at);
                self.with_client(at, |client, turn| client.opened(turn));
                self.read_all(at);
            }
        }
    }

    /// Edge-triggered: reads until nothing is left, and gathers the answers into one write.
    fn read_all(&mut self, at: usize) {
        if !self.puts_off_reading(at, self.control.now_us()) {
            self.read_up_to(at, f64::INFINITY);
        }
    }

    /// Stops when more than `bytes_max` were read. The bytes, and whether nothing is left.
    pub(super) fn read_up_to(&mut self, at: usize, bytes_max: f64) -> (usize, bool) {
        let now_us = self.control.now_us();
        let mut closed = None;
        let (mut read, mut is_drained) = (0, true);
        let Worker { members, talks, out, config, naming, control, latencies, rng, .. } = self;
        let Member { client, talk, slow, socket: Some(Socket::Open(socket)), .. } = &mut members[at] else {
            return (0, true);
        };
        let mut turn = Turn {
            now_us,
            rules: &config.rules,
            naming,
            counters: &control.counters,
            latencies,
            rng,
            talk: talk.map(|talk| &mut talks[talk]),
            out,
        };
        loop {
            match socket::receive(socket) {
                Received::Frame(Message::Text(text)) => {
                    client.heard(&mut turn, text.as_str());
                    read += text.len();
                    if read as f64 > bytes_max {
                        is_drained = false;
                        break;
                    }
                }
                Received::Frame(Message::Close(close)) if slow.is_some() => {
                    if close.is_some_and(|close| u16::from(close.code) == 1013) {
                        Counters::add(&control.counters.slow_ended_with_1013);
                    }
                }
                Received::Frame(_) => client.alive(now_us),
                Received::Drained => break,
                Received::Closed(why) => {
                    closed = Some(why);
                    break;
                }
            }
        }
        match closed {
            Some(why) => self.hang_up(at, why),
            None => self.write_out(at),
        }
        self.note_synced(at);
        (read, is_drained)
    }

    /// An open connection is over.
    fn hang_up(&mut self, at: usize, why: String) {
        if !matches!(self.members[at].socket, Some(Socket::Open(_))) {
            // What was to be written on the way here has hung up already.
            return;
        }
        let counters = &self.control.counters;
        let is_slow = self.members[at].slow.is_some();
        Counters::add(if is_slow { &counters.slow_ended } else { &counters.disconnects });
        Counters::sub(&counters.connected);
        counters.note_trouble(|| why);
        self.out.clear();
        self.members[at].client.closed();
        self.back_off(at, 0);
    }

    fn connect_failed(&mut self, at: usize, why: String, asked_wait_ms: u64) {
        Counters::add(&self.control.counters.connect_failures);
        self.control.counters.note_trouble(|| why);
        self.back_off(at, asked_wait_ms);
    }

    /// Waits as the rules say, and no less than the server asked for: jittered upwards, or all who were refused
    /// in one second would come back in one.
    pub(super) fn back_off(&mut self, at: usize, asked_wait_ms: u64) {
        let rules = &self.config.rules;
        let member = &mut self.members[at];
        member.socket = None;
        let doubled = rules.backoff_min_ms.saturating_mul(1 << member.failures.min(20));
        let own_wait_us =
            (doubled.min(rules.backoff_max_ms) as f64 * 1000.0 * (0.5 + self.rng.f64() * 0.5)) as u64;
        let asked_wait_us = (asked_wait_ms as f64 * 1000.0 * (1.0 + self.rng.f64() * 0.5)) as u64;
        member.connect_at_us = self.control.now_us() + own_wait_us.max(asked_wait_us);
        member.failures += 1;
    }

    fn tick_all(&mut self, now_us: u64) {
        let limit = self.control.connect_limit();
        for at in 0..self.members.len() {
            // Who does not read can't look whether the server is there.
            let looks_away = self.puts_off_reading(at, now_us);
            let member = &mut self.members[at];
            match &member.socket {
                None if now_us >= member.connect_at_us && (member.index as u64) < limit => {
                    self.connect(at, now_us)
                }
                None => {}
                Some(Socket::Open(_)) if looks_away => {}
                Some(Socket::Open(_)) => {
                    let pulse = self.with_client(at, |client, turn| client.tick(turn));
                    if pulse == Pulse::Dead {
                        self.hang_up(at, "the server was silent for too long".to_owned());
                    }
                }
                Some(_) if now_us >= member.connect_until_us => {
                    self.connecting -= 1;
                    self.connect_failed(at, "the handshake took too long".to_owned(), 0);
                }
                Some(_) => {}
            }
        }
    }

    /// Connects, if the pace and the number of handshakes under way allow it now.
    fn connect(&mut self, at: usize, now_us: u64) {
        if self.is_paced()
            && (self.connecting >= self.config.connecting_max || self.connect_pacer.due(now_us).is_none())
        {
            return;
        }
        // An idle pacer must not save up a burst.
        self.connect_pacer.forget_before(now_us.saturating_sub(2 * TICK_US));
        let source = socket::source_of_part(&self.config.target, self.members[at].index, self.config.share);
        match socket::connect(&self.config.target, source, self.poll.registry(), Token(at)) {
            Ok(socket) => {
                self.connecting += 1;
                let member = &mut self.members[at];
                member.socket = Some(socket);
                member.connect_until_us = now_us + self.config.connect_wait_ms * 1000;
                self.narrow(at);
            }
            Err(error) => self.connect_failed(at, format!("connect: {error}"), 0),
        }
    }
}

impl LoadConfig {
    /// A thread's number among those of all parts.
    fn whole_thread(&self, thread: usize) -> usize {
        self.share.part * self.threads + thread
    }

    /// A thread's share of a rate, shifted so that the threads of all parts take turns.
    fn pacer(&self, rate_per_s: f64, thread: usize, start_us: u64) -> Pacer {
        Pacer::new(rate_per_s, self.whole_thread(thread), self.share.parts * self.threads, start_us)
    }
}

/// This thread's users and their conversations: every `threads`-th of the pairs and, numbered after them, the rooms.
fn seat_members(config: &LoadConfig, thread: usize) -> (Vec<Member>, Vec<ConversationHistory>) {
    let (mut members, mut talks) = (Vec::new(), Vec::new());
    let pairs = config.users.chunks(2).map(|pair| {
        let talks = pair.len() == 2 && config.rate_per_s > 0.0;
        (talks.then(|| wire::single_conversation(pair[0].id, pair[1].id)), pair)
    });
    let rooms = config.rooms.iter().map(|room| (Some(room.conversation_id.clone()), room.users.as_slice()));
    let flaps = |session: usize| {
        // Spread over all kinds of conversations, and as many as asked for.
        let flapping = |sessions: usize| (sessions as f64 * config.habits.flap_share).floor() as usize;
        flapping(session + 1) > flapping(session)
    };
    let rooms_from = config.users.len().div_ceil(2);
    let is_slow = |number: usize, member: usize, members: usize| {
        number >= rooms_from && member + config.habits.slow_members >= members
    };
    let mut first = 0;
    for (number, (conversation, users)) in pairs.chain(rooms).enumerate() {
        let index = first;
        first += users.len();
        if number % config.threads != thread {
            continue;
        }
        let talk = conversation.map(|id| {
            let member = |user: &User| MemberHistory { user_id: user.id, ..MemberHistory::default() };
            talks.push(ConversationHistory { id, base_seq: 0, members: users.iter().map(member).collect() });
            talks.len() - 1
        });
        members.extend(users.iter().enumerate().map(|(member, user)| Member {
            client: {
                let client = Client::new(talk.map(|_| Seat { number: number as u32, member: member as u32 }));
                if is_slow(number, member, users.len()) { client.slow() } else { client }
            },
            index: index + member,
            token: user.token.as_str().into(),
            talk,
            socket: None,
            connect_until_us: 0,
            connect_at_us: 0,
            failures: 0,
            away: None,
            flap_at_us: flaps(index + member).then_some(0),
            slow: is_slow(number, member, users.len()).then(SlowReading::default),
        }));
    }
    (members, talks)
}
