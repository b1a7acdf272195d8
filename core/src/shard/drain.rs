//! The end of a shard, polite or at once.
//!
//! Politely: accepting goes on for a grace time, then what waits in the accept queue is taken, the listener is closed,
//! and clients are closed with 1001 at random times within a spread that grows with their number. A shard ends when it has no connection left and
//! no other shard can hand one over, or at the deadline.

use super::accept::{Swept, sweep};
use super::http::Stage;
use super::state::Timer;
use super::{Control, Shard};
use crate::app::App;
use crate::conn::handshake::enter;
use crate::reasons::{ConnectionRefused, ForcedBy, HttpEnd};
use crate::socket::Socket;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::Shutdown;
use std::rc::Rc;

/// How far a drain has come.
#[derive(Debug, Default)]
pub(crate) struct Drain {
    pub(crate) began_ms: Option<u64>,
    pub(crate) stopped_accepting: bool,
    told_peers: bool,
    /// Shards that hand nothing over any more.
    pub(crate) quiet_peers: usize,
    ended_before: u64,
    forced_before: u64,
}

/// Connections that ended during the drain, and those of them that were closed as they were.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Drained {
    pub(crate) clean: u64,
    pub(crate) forced: u64,
}

impl<A: App> Shard<A> {
    pub(super) fn begin_drain(&self) {
        let mut state = self.state.borrow_mut();
        if state.drain.began_ms.is_none() {
            let (ended, forced) = (state.stats.closes.sum(), state.stats.forced_closes.sum());
            state.drain.began_ms = Some(self.now_ms());
            (state.drain.ended_before, state.drain.forced_before) = (ended, forced);
        }
    }

    /// The outcome of the drain.
    pub(crate) fn drained(&self) -> Drained {
        let state = self.state.borrow();
        let ended = state.stats.closes.sum();
        let forced = state.stats.forced_closes.sum() - state.drain.forced_before;
        Drained { clean: (ended - state.drain.ended_before).saturating_sub(forced), forced }
    }

    /// Moves a drain on; called at every tick.
    pub(super) fn drain_on(self: &Rc<Self>, listener: &Socket) {
        let Some(began_ms) = self.state.borrow().drain.began_ms else { return };
        let (now_ms, config) = (self.now_ms(), self.config());
        if !self.state.borrow().drain.stopped_accepting && now_ms >= began_ms + config.drain_grace_ms {
            // Closing a listener resets what waits in its queue.
            while sweep(self, listener, config.accept_batch) == Swept::BatchDone {}
            self.state.borrow_mut().drain.stopped_accepting = true;
            listener.shutdown(Shutdown::Read);
            self.begin_closes();
        }
        self.tell_peers();
        let state = self.state.borrow();
        let empty = state.conns.len() == 0 && state.http.len() == 0;
        let peers_quiet = state.drain.quiet_peers + 1 >= state.shards;
        drop(state);
        if empty && peers_quiet || now_ms >= began_ms + config.drain_deadline_ms {
            self.stop();
        }
    }

    /// Gives every connection a random time to be closed at, and lets idle HTTP connections go.
    fn begin_closes(&self) {
        let mut random = RandomState::new().build_hasher();
        let mut state = self.state.borrow_mut();
        state.draining = true;
        let config = &state.config;
        let spread_ms =
            config.drain_spread_ms.min(config.drain_pace_ms.saturating_mul(state.conns.len() as u64));
        for slot in 0..state.conns.slots() {
            let Some(id) = state.conns.id_at(slot) else { continue };
            random.write_usize(slot);
            let delay_ms = random.finish() % (spread_ms + 1);
            let due_ms = state.now_ms + delay_ms;
            state.wheel.insert(due_ms, Timer::DrainClose(id));
        }
        let idle_ends_ms =
            state.now_ms + state.config.drain_spread_ms.min(spread_ms.max(state.config.drain_grace_ms));
        for slot in 0..state.http.slots() {
            let Some(id) = state.http.id_at(slot) else { continue };
            let Some(http) = state.http.get(id).filter(|http| http.stage == Stage::Idle) else { continue };
            if http.request > 0 {
                http.socket.shutdown(Shutdown::Read);
            } else {
                // A first request may be on its way.
                let deadline_ms = http.deadline_ms.min(idle_ends_ms);
                enter(&mut state, id, Stage::Idle, deadline_ms);
            }
        }
    }

    /// Tells the other shards, once, that nothing will be handed over to them any more.
    fn tell_peers(&self) {
        let mut state = self.state.borrow_mut();
        if !state.drain.stopped_accepting || state.http.len() > 0 || state.drain.told_peers {
            return;
        }
        state.drain.told_peers = true;
        for peer in (0..state.shards).filter(|peer| *peer != state.shard) {
            self.links.controls.shard(peer).post_reserved(Control::Quiet);
        }
    }

    /// Ends everything now.
    pub(super) fn stop(&self) {
        if self.over.replace(true) {
            return;
        }
        drop(self.links.mailboxes.shard(self.links.shard).close());
        let left = self.links.controls.shard(self.links.shard).close();
        let mut state = self.state.borrow_mut();
        for _ in left.iter().filter(|control| matches!(control, Control::Handoff(_))) {
            state.stats.refusals.add(ConnectionRefused::HandoffEnded);
        }
        for slot in 0..state.conns.slots() {
            if let Some(id) = state.conns.id_at(slot) {
                state.force_end(id, ForcedBy::Drain);
            }
        }
        for slot in 0..state.http.slots() {
            let Some(id) = state.http.id_at(slot) else { continue };
            let Some(http) = state.http.get_mut(id) else { continue };
            let counted = std::mem::replace(&mut http.expired, true);
            http.socket.shutdown(Shutdown::Both);
            if let Some(waker) = http.waker.take() {
                waker.wake();
            }
            if !counted {
                state.stats.http_ends.add(HttpEnd::Drain);
            }
        }
        // The tasks that wait for a ring or for the end of a turn.
        self.links.bell.ring();
        state.call_turn_end();
    }
}
