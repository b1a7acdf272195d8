//! One user of the protocol, as pure code: frames and the time come in, frames go out. No socket, no clock.

mod final_read;
mod inbox;
mod naming;
mod outbox;
#[cfg(test)]
mod tests;

pub(crate) use naming::Naming;

use final_read::FinalRead;
use inbox::{Arrival, Inbox};
use outbox::Outbox;

use crate::checker::{ConversationHistory, Entry, MessageKey, SendRecord, Stored};
use crate::config::ClientRules;
use crate::tally::{Counters, Latencies};
use crate::wire::{self, Ack, AckStatus, ErrorBody, Gap, Head, Incoming, NewMessage, Page};

/// Where a client talks: conversation `number` of the load, as its member `member`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) number: u32,
    pub(crate) member: u32,
}

/// What a client may use in one call.
pub(crate) struct Turn<'a> {
    pub(crate) now_us: u64,
    pub(crate) rules: &'a ClientRules,
    pub(crate) naming: &'a Naming,
    pub(crate) counters: &'a Counters,
    pub(crate) latencies: &'a mut Latencies,
    pub(crate) rng: &'a mut fastrand::Rng,
    /// The client's conversation; `None` for a session that is only held.
    pub(crate) talk: Option<&'a mut ConversationHistory>,
    /// Frames to write.
    pub(crate) out: &'a mut Vec<String>,
}

/// Whether the connection still serves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pulse {
    Alive,
    /// The server has been silent for too long: close and reconnect.
    Dead,
}

/// A session: heads, heartbeat, an outbox and an inbox.
#[derive(Debug)]
pub(crate) struct Client {
    seat: Option<Seat>,
    open: bool,
    /// The first heads were answered: the conversation's base is known.
    ready: bool,
    inbox: Inbox,
    outbox: Outbox,
    /// What heads said of conversations that are not ours, so that they are not listed again.
    others: Vec<(Box<str>, u64)>,
    heads_asked_us: Option<u64>,
    /// This connection's first heads were answered.
    heads_answered: bool,
    heads_due_us: Option<u64>,
    heads_interval_us: u64,
    heartbeat_us: u64,
    heard_us: u64,
    pinged: bool,
    final_read: Option<FinalRead>,
    /// Its latencies are told apart.
    is_slow: bool,
}

impl Client {
    pub(crate) fn new(seat: Option<Seat>) -> Client {
        Client {
            seat,
            open: false,
            ready: false,
            inbox: Inbox::default(),
            outbox: Outbox::default(),
            others: Vec::new(),
            heads_asked_us: None,
            heads_answered: false,
            heads_due_us: None,
            heads_interval_us: 300_000_000,
            heartbeat_us: 30_000_000,
            heard_us: 0,
            pinged: false,
            final_read: None,
            is_slow: false,
        }
    }

    /// One that this load makes slow.
    pub(crate) fn slow(self) -> Client {
        Client { is_slow: true, ..self }
    }

    /// `None`: a session that is only held.
    pub(crate) fn seat(&self) -> Option<Seat> {
        self.seat
    }

    /// Messages without a final answer.
    pub(crate) fn unfinished(&self) -> usize {
        self.outbox.len()
    }

    /// Everything that is known to be stored has been given to the application.
    pub(crate) fn is_level(&self, talk: &ConversationHistory) -> bool {
        let newest =
            talk.members.iter().filter_map(|member| member.sends.iter().rev().find_map(|send| send.stored));
        self.ready
            && !self.inbox.is_behind()
            && newest.map(|stored| stored.seq).max() <= Some(self.inbox.have())
    }

    /// Connected, and all that heads told of is here.
    pub(crate) fn is_synced(&self) -> bool {
        self.open && self.heads_answered && !self.inbox.is_behind()
    }

    /// The handshake is done: catch up first, then send what is unfinished.
    pub(crate) fn opened(&mut self, turn: &mut Turn<'_>) {
        self.open = true;
        self.heard_us = turn.now_us;
        self.pinged = false;
        self.ask_heads(turn);
        self.pump(turn);
    }

    /// The connection is gone.
    pub(crate) fn closed(&mut self) {
        self.open = false;
        self.heads_asked_us = None;
        self.heads_answered = false;
        self.heads_due_us = None;
        self.outbox.disconnected();
        self.inbox.disconnected();
        if let Some(reading) = &mut self.final_read {
            reading.disconnected();
        }
    }

    /// A message became due at `due_us`.
    pub(crate) fn write(&mut self, turn: &mut Turn<'_>, due_us: u64) {
        let (Some(seat), Some(talk)) = (self.seat, turn.talk.as_deref_mut()) else { return };
        let sends = &mut talk.members[seat.member as usize].sends;
        if !self.outbox.push(sends.len() as u32, turn.rules) {
            Counters::add(&turn.counters.skipped);
            return;
        }
        sends.push(SendRecord { due_us, ..SendRecord::default() });
        Counters::add(&turn.counters.sent);
        turn.latencies.lateness.record(turn.now_us.saturating_sub(due_us));
        self.pump(turn);
    }

    /// A text frame came. Anything that cannot be used is counted and left.
    pub(crate) fn heard(&mut self, turn: &mut Turn<'_>, text: &str) {
        self.alive(turn.now_us);
        match wire::parse(text) {
            Ok(Incoming::Ack(ack)) => self.on_ack(turn, &ack),
            Ok(Incoming::Message(message)) => {
                self.on_message(turn, &message);
                let wait_us = hole_wait_us(turn);
                self.inbox.watch_hole(turn.now_us, wait_us);
            }
            Ok(Incoming::Heads(changed)) => self.on_heads(turn, &changed),
            Ok(Incoming::Page { page, id }) => self.on_page(turn, &page, id.as_deref()),
            Ok(Incoming::Hello { heartbeat_ms, heads_interval_ms }) => {
                self.heartbeat_us = heartbeat_ms.max(1) * 1000;
                self.heads_interval_us = heads_interval_ms.max(1) * 1000;
            }
            Ok(Incoming::Resync { delay_ms }) => {
                Counters::add(&turn.counters.resyncs);
                self.heads_due_us = Some(turn.now_us + delay_ms * 1000);
            }
            Ok(Incoming::Error { error, id }) => self.on_error(turn, &error, id.as_deref()),
            Ok(Incoming::Gap(gap)) => self.on_gap(turn, &gap),
            Ok(Incoming::Other) => {}
            Err(error) => {
                Counters::add(&turn.counters.bad_frames);
                turn.counters.note_trouble(|| format!("frame not understood ({error}): {text:.200}"));
            }
        }
        self.pump(turn);
    }

    /// What was asked is asked again later; a conversation that does not exist has an empty history.
    fn on_error(&mut self, turn: &mut Turn<'_>, error: &ErrorBody<'_>, id: Option<&str>) {
        let wait_ms = error.retry_after_ms.unwrap_or(turn.rules.error_wait_ms).min(ERROR_WAIT_MAX_MS);
        let pause_us = wait_ms * 1000 + turn.rng.u64(0..=wait_ms * 500);
        match (id, self.seat, turn.talk.as_deref()) {
            (Some(wire::HEADS_ID), ..) => {
                self.heads_asked_us = None;
                self.heads_due_us = Some(turn.now_us + pause_us);
            }
            (Some(wire::SYNC_ID), ..) => self.inbox.sync_failed(turn.now_us, pause_us),
            (id, Some(seat), Some(talk)) if error.code == CONVERSATION_NOT_FOUND => {
                if let Some(reading) =
                    self.final_read.as_mut().filter(|reading| reading.is_answer(talk, seat, id))
                {
                    reading.end();
                    Counters::add(&turn.counters.finished);
                    return;
                }
            }
            _ => {}
        }
        let is_put_off = error.retry_after_ms.is_some();
        Counters::add(if is_put_off { &turn.counters.put_off } else { &turn.counters.bad_frames });
        turn.counters.note_trouble(|| format!("error frame {}: {}", error.code, error.message));
    }

    /// Any sign of life, WebSocket pings too.
    pub(crate) fn alive(&mut self, now_us: u64) {
        self.heard_us = now_us;
        self.pinged = false;
    }

    /// Looks at the deadlines; to be called some ten times a second.
    pub(crate) fn tick(&mut self, turn: &mut Turn<'_>) -> Pulse {
        if !self.open {
            return Pulse::Alive;
        }
        let (now_us, answer_wait_us) = (turn.now_us, turn.rules.answer_wait_ms * 1000);
        if self.heads_asked_us.is_some_and(|at| now_us >= at + answer_wait_us) {
            return Pulse::Dead;
        }
        if now_us >= self.heard_us + self.heartbeat_us {
            if now_us >= self.heard_us + self.heartbeat_us + answer_wait_us {
                return Pulse::Dead;
            }
            if !std::mem::replace(&mut self.pinged, true) {
                turn.out.push(wire::ping());
            }
        }
        if self.heads_due_us.is_some_and(|due| now_us >= due) && self.heads_asked_us.is_none() {
            self.ask_heads(turn);
        }
        self.outbox.expire(now_us, turn.rules);
        self.pump(turn);
        Pulse::Alive
    }

    /// The load is over and this client is still behind: a real one would learn it at the next heads.
    pub(crate) fn fetch_tail(&mut self, turn: &mut Turn<'_>) {
        Counters::add(&turn.counters.holes);
        self.ask_heads(turn);
    }

    /// Begins to read the final history; goes on by itself, over reconnects too.
    pub(crate) fn begin_final_read(&mut self, turn: &mut Turn<'_>) {
        self.final_read.get_or_insert_default();
        self.pump(turn);
    }

    pub(crate) fn is_reading(&self) -> bool {
        self.final_read.as_ref().is_some_and(|reading| !reading.is_done())
    }

    pub(crate) fn has_read(&self) -> bool {
        self.final_read.as_ref().is_some_and(FinalRead::is_done)
    }

    fn ask_heads(&mut self, turn: &mut Turn<'_>) {
        if !self.open {
            return;
        }
        self.heads_asked_us = Some(turn.now_us);
        self.heads_due_us = None;
        let own = turn.talk.as_deref().map(|talk| (talk.id.as_str(), self.inbox.have()));
        let others = self.others.iter().map(|(id, seq)| (&**id, *seq));
        let pages = self.ready.then_some(turn.rules.page_messages.min(HEADS_PAGE_MESSAGES));
        turn.out.push(wire::heads(own.into_iter().chain(others), pages));
    }

    fn on_heads(&mut self, turn: &mut Turn<'_>, changed: &[Head<'_>]) {
        self.heads_asked_us = None;
        self.heads_answered = true;
        let jitter = 0.75 + turn.rng.f64() * 0.5;
        self.heads_due_us = Some(turn.now_us + (self.heads_interval_us as f64 * jitter) as u64);
        let own_id = turn.talk.as_deref().map_or("", |talk| &talk.id);
        let own = changed
            .iter()
            .position(|head| head.conversation_id == own_id)
            .map(|at| (at, changed[at].last_seq));
        for head in changed.iter().filter(|head| head.conversation_id != own_id) {
            let known = self.others.iter().position(|(id, _)| **id == *head.conversation_id);
            if let Some(at) = known {
                self.others[at].1 = head.last_seq;
            } else if self.others.len() < turn.rules.other_heads_max {
                self.others.push((head.conversation_id.as_ref().into(), head.last_seq));
            }
        }
        if !std::mem::replace(&mut self.ready, true) {
            let base = own.map_or(0, |(_, seq)| seq);
            self.inbox = Inbox::new(base);
            if let Some(talk) = turn.talk.as_deref_mut() {
                talk.base_seq = base;
            }
            Counters::add(&turn.counters.ready);
            return;
        }
        if let Some((at, seq)) = own {
            self.inbox.learn(seq);
            if !self.inbox.is_behind() {
                // It came live between the question and the answer.
            } else if at < HEADS_PAGES {
                self.inbox.page_is_coming(turn.now_us);
            } else {
                self.inbox.sync_now(turn.now_us);
            }
        }
    }

    fn on_ack(&mut self, turn: &mut Turn<'_>, ack: &Ack<'_>) {
        let (Some(seat), Some(talk)) = (self.seat, turn.talk.as_deref_mut()) else { return };
        let key =
            turn.naming.parse(seat.number, &ack.temp_message_id).filter(|key| key.member == seat.member);
        let sends = &mut talk.members[seat.member as usize].sends;
        let Some((n, record)) = key.and_then(|key| Some((key.n, sends.get_mut(key.n as usize)?))) else {
            Counters::add(&turn.counters.bad_frames);
            turn.counters.note_trouble(|| format!("ack of an unknown message: {ack:?}"));
            return;
        };
        match ack.status {
            AckStatus::Accepted => {
                if !std::mem::replace(&mut record.accepted, true) {
                    Counters::add(&turn.counters.accepted);
                }
            }
            AckStatus::Retry => {
                Counters::add(&turn.counters.retried);
                let after_us = ack.retry_after_ms.unwrap_or(500) * 1000;
                let jitter_us = turn.rng.u64(0..=after_us / 4);
                self.outbox.retry(n, turn.now_us, after_us + jitter_us);
            }
            AckStatus::Rejected => {
                let code = ack.code.unwrap_or(0);
                if !record.is_final() {
                    record.rejected = Some(code);
                    Counters::add(&turn.counters.rejected);
                    turn.counters.note_trouble(|| format!("rejected with {code}"));
                } else if record.stored.is_some() {
                    record.contradicted = true;
                }
                let _ = self.outbox.finish(n);
            }
            AckStatus::Stored => {
                let id = ack.message_id.as_deref().and_then(|id| id.parse().ok());
                let (Some(seq), Some(message_id)) = (ack.seq_id, id) else {
                    Counters::add(&turn.counters.bad_frames);
                    turn.counters.note_trouble(|| format!("stored without messageId and seqId: {ack:?}"));
                    return;
                };
                let stored = Stored { seq, message_id };
                if !record.is_final() {
                    record.stored = Some(stored);
                    Counters::add(&turn.counters.stored);
                    turn.latencies.ack.record(turn.now_us.saturating_sub(record.due_us));
                } else if record.stored != Some(stored) {
                    record.contradicted = true;
                }
                let _ = self.outbox.finish(n);
                self.inbox.learn(seq);
                let wait_us = hole_wait_us(turn);
                self.inbox.watch_hole(turn.now_us, wait_us);
            }
        }
    }

    fn on_message(&mut self, turn: &mut Turn<'_>, message: &NewMessage<'_>) {
        let (Some(seat), Some(talk)) = (self.seat, turn.talk.as_deref_mut()) else { return };
        if !self.ready || message.conversation_id != talk.id {
            return;
        }
        let Some(entry) = entry_of(turn.naming, seat, talk, message) else {
            Counters::add(&turn.counters.bad_frames);
            turn.counters.note_trouble(|| format!("message without a numeric id: {message:?}"));
            return;
        };
        if self.inbox.arrive(entry, turn.rules) == Arrival::Double {
            Counters::add(&turn.counters.redelivered);
        }
        while let Some(entry) = self.inbox.next_ready() {
            talk.members[seat.member as usize].deliveries.push(entry);
            let Some(MessageKey { member, n }) = entry.key.filter(|key| key.member != seat.member) else {
                continue;
            };
            Counters::add(&turn.counters.delivered);
            let receivers = talk.members.len() as u32 - 1;
            if let Some(send) = talk.members[member as usize].sends.get_mut(n as usize) {
                let since_due_us = turn.now_us.saturating_sub(send.due_us);
                let latency =
                    if self.is_slow { &mut turn.latencies.slow } else { &mut turn.latencies.deliver };
                latency.record(since_due_us);
                send.given_to += 1;
                if receivers > 1 && send.given_to == receivers {
                    turn.latencies.last.record(since_due_us);
                }
            }
        }
    }

    /// Somebody looks at this conversation: what was left out is fetched.
    fn on_gap(&mut self, turn: &mut Turn<'_>, gap: &Gap<'_>) {
        if turn.talk.as_deref().is_none_or(|talk| talk.id != gap.conversation_id) {
            return;
        }
        Counters::add(&turn.counters.gaps_told);
        Counters::add_many(
            &turn.counters.left_out,
            gap.to_seq.saturating_add(1).saturating_sub(gap.from_seq),
        );
        self.inbox.learn(gap.to_seq);
        let wait_us = hole_wait_us(turn);
        self.inbox.watch_hole(turn.now_us, wait_us);
    }

    fn on_page(&mut self, turn: &mut Turn<'_>, page: &Page<'_>, id: Option<&str>) {
        let (Some(seat), Some(talk)) = (self.seat, turn.talk.as_deref_mut()) else { return };
        if page.conversation_id != talk.id {
            return;
        }
        if let Some(reading) = self.final_read.as_mut().filter(|reading| reading.is_answer(talk, seat, id)) {
            let entries =
                page.messages.iter().filter_map(|message| entry_of(turn.naming, seat, talk, message));
            let entries: Vec<Entry> = entries.collect();
            if reading.take_page(talk, seat, entries, page.has_more) {
                Counters::add(&turn.counters.finished);
            }
        } else {
            if let Some(first) = page.messages.first() {
                self.inbox.skip_to(first.seq_id);
            }
            for message in &page.messages {
                self.on_message(turn, message);
            }
            let wait_us = hole_wait_us(turn);
            self.inbox.page_done(turn.now_us, !page.messages.is_empty(), page.has_more, wait_us);
        }
    }

    /// Writes all that may be written now.
    fn pump(&mut self, turn: &mut Turn<'_>) {
        let (Some(seat), Some(talk), true) = (self.seat, turn.talk.as_deref(), self.open) else { return };
        while let Some(next) = self.outbox.next_sendable(turn.now_us, turn.rules) {
            let key = MessageKey { member: seat.member, n: next.n };
            let id = turn.naming.client_msg_id(seat.number, key);
            turn.out.push(wire::send_message(&talk.id, &id, &turn.naming.content(&id)));
            if next.again {
                Counters::add(&turn.counters.resent);
            }
        }
        if let Some(for_hole) = self.inbox.take_sync(turn.now_us, turn.rules) {
            turn.out.push(wire::sync(&talk.id, self.inbox.have(), turn.rules.page_messages, wire::SYNC_ID));
            Counters::add(&turn.counters.syncs);
            if for_hole {
                Counters::add(&turn.counters.holes);
            }
        }
        if let Some(reading) = &mut self.final_read {
            turn.out.extend(reading.next_question(talk, seat, turn.now_us, turn.rules));
        }
    }
}

/// The domain's code 1004.
const CONVERSATION_NOT_FOUND: u32 = 1004;

/// No server's word keeps a client away for longer.
const ERROR_WAIT_MAX_MS: u64 = 600_000;

/// First pages that the server sends of its own after `heads` with a page limit (its heads_pages_max).
const HEADS_PAGES: usize = 20;
const HEADS_PAGE_MESSAGES: u32 = 50;

/// The wait for a hole, with jitter so that thousands of clients do not ask in one moment.
fn hole_wait_us(turn: &mut Turn<'_>) -> u64 {
    let wait_us = turn.rules.hole_wait_ms * 1000;
    wait_us + turn.rng.u64(0..=wait_us / 2)
}

/// `None`: the message's id is no number. Whoever wrote it must be who the id says, with the content that it says.
fn entry_of(
    naming: &Naming,
    seat: Seat,
    talk: &ConversationHistory,
    message: &NewMessage<'_>,
) -> Option<Entry> {
    let key = message.client_msg_id.as_deref().and_then(|id| {
        let key = naming.parse(seat.number, id)?;
        let writer = talk.members.get(key.member as usize)?;
        let is_his = message.sender.parse() == Ok(writer.user_id) && naming.is_content(id, &message.content);
        is_his.then_some(key)
    });
    Some(Entry { seq: message.seq_id, message_id: message.message_id.parse().ok()?, key })
}
