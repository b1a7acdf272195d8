//! What a shard's memory goes to, and what is shed, in which order, as it nears `memory_shard_max_bytes`.
//!
//! Each step begins at a share of the ceiling and ends below it, so that nothing is shed longer than needed:
//! 70 %: free lists are freed and nothing goes into them; 80 %: droppable frames for connections whose sockets take no
//! more are dropped; 90 %: new connections are refused; above 100 %: those with the most bytes queued behind a blocked
//! socket are closed, the largest first, until the rest fits.

use super::http::HttpConn;
use super::state::{Conn, State};
use crate::app::{App, CloseReason};
use crate::conn::id::ConnId;
use crate::conn::machine::{Phase, Then};
use crate::reasons::HttpEnd;
use crate::ws::Frame;
use std::net::Shutdown;

/// What is shed, by the percentage of the ceiling at which that begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    FreeLists = 70,
    Droppable = 80,
    Refuse = 90,
    Close = 100,
}

/// What a connection takes besides its entry, about: with it, one more idle connection of the echo example added 810 bytes
/// to the process, and 1,216 before its upgrade (a slope over 9,000 connections).
const UPGRADED_TASK_BYTES: usize = 700;
const HTTP_TASK_BYTES: usize = 1_070;

/// Room that a buffer of incomplete input may have besides twice what it keeps.
const SLACK_BYTES: usize = 512;

/// Frees the room of a buffer that is much more than it keeps, since the budgets count what is kept.
pub(crate) fn fit(buffer: &mut Vec<u8>) {
    if buffer.capacity() > 2 * buffer.len() + SLACK_BYTES {
        buffer.shrink_to_fit();
    }
}

/// Live bytes of a shard by kind.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Live {
    /// Entries and tasks.
    pub(crate) connections: usize,
    /// Incomplete requests, frames and messages.
    pub(crate) input: usize,
    /// What blocked sockets have not taken: frames, a shared one counted for each receiver, and answers.
    pub(crate) outboxes: usize,
    /// Mails that waited at the last tick, as their posters declared.
    pub(crate) mailbox: usize,
    /// Buffers that nobody uses now.
    pub(crate) free_lists: usize,
}

impl Live {
    pub(crate) fn total(&self) -> usize {
        self.connections + self.input + self.outboxes + self.mailbox + self.free_lists
    }
}

/// Who is closed to make room.
#[derive(Clone, Copy)]
enum Victim {
    Http(ConnId),
    Upgraded(ConnId),
}

impl<A: App> State<A> {
    pub(crate) fn live(&self) -> Live {
        let upgraded = size_of::<(ConnId, Conn<A::Session>)>() + UPGRADED_TASK_BYTES;
        let http = size_of::<(ConnId, HttpConn)>() + HTTP_TASK_BYTES;
        Live {
            connections: self.conns.len() * upgraded + self.http.len() * http,
            input: self.input_bytes,
            outboxes: self.stuck_bytes + self.answer_bytes,
            mailbox: self.mailbox_bytes,
            free_lists: self.free_bytes,
        }
    }

    /// Whether so much is live that `step` is taken.
    pub(crate) fn sheds(&self, step: Step) -> bool {
        self.live().total() as u128 * 100 > self.config.memory_shard_max_bytes as u128 * step as u128
    }

    /// Makes room; called at every tick.
    pub(crate) fn shed(&mut self) {
        if self.free_bytes > 0 && self.sheds(Step::FreeLists) {
            self.stats.shed_free_lists += 1;
            (self.free_outboxes, self.free_buffers, self.free_bytes) = (Vec::new(), Vec::new(), 0);
        }
        if self.sheds(Step::Close) {
            self.close_largest();
        }
    }

    fn close_largest(&mut self) {
        let mut victims = self.blocked();
        victims.sort_unstable_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
        for (_, victim) in victims {
            if !self.sheds(Step::Close) {
                return;
            }
            match victim {
                Victim::Upgraded(id) => {
                    self.drop_unbegun(id);
                    let frame = Frame::close(1013, "out of memory");
                    self.begin_close(id, frame, CloseReason::Memory, Then::PeerClose);
                }
                Victim::Http(id) => {
                    self.uncharge_answer(id);
                    if let Some(http) = self.http.get_mut(id) {
                        self.stats.http_ends.add(HttpEnd::Memory);
                        http.expired = true;
                        // Ends the wait of its task.
                        http.socket.shutdown(Shutdown::Both);
                    }
                }
            }
        }
    }

    /// The open connections whose sockets take no more, and what is queued for each.
    fn blocked(&self) -> Vec<(usize, Victim)> {
        let ids = (0..self.conns.slots()).filter_map(|slot| self.conns.id_at(slot));
        let upgraded = ids.filter_map(|id| {
            let conn = self.conns.get(id)?;
            let blocked = conn.phase == Phase::Open && conn.blocked_since_ms.is_some();
            let outbox = conn.outbox.as_ref().filter(|_| blocked)?;
            Some((outbox.bytes(), Victim::Upgraded(id)))
        });
        let ids = (0..self.http.slots()).filter_map(|slot| self.http.id_at(slot));
        let http = ids.filter_map(|id| {
            let bytes = self.http.get(id)?.answer_bytes;
            (bytes > 0).then_some((bytes, Victim::Http(id)))
        });
        upgraded.chain(http).collect()
    }

    /// Charges the shard for an answer that its socket doesn't take.
    pub(crate) fn charge_answer(&mut self, id: ConnId, bytes: usize) {
        self.uncharge_answer(id);
        if let Some(http) = self.http.get_mut(id) {
            http.answer_bytes = bytes;
            self.answer_bytes += bytes;
        }
    }

    pub(crate) fn uncharge_answer(&mut self, id: ConnId) {
        if let Some(http) = self.http.get_mut(id) {
            self.answer_bytes -= std::mem::take(&mut http.answer_bytes);
        }
    }
}
