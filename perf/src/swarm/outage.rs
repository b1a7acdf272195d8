//! The outages that a load makes: every connection is cut in one moment, or some flap; and all clients come back by their own
//! rules.

use super::socket::{self, Socket};
use super::worker::Worker;
use crate::tally::Counters;

/// A client on its way back.
#[derive(Debug, Clone, Copy)]
pub(super) struct Away {
    since_us: u64,
    /// Connected again, and not yet level with the server.
    is_back: bool,
}

impl Worker {
    /// Cuts every open connection when an outage was ordered.
    pub(super) fn heed_outage(&mut self) {
        let outages = self.control.outages();
        if std::mem::replace(&mut self.outages_seen, outages) == outages {
            return;
        }
        let since_us = self.control.now_us();
        for at in 0..self.members.len() {
            self.cut(at, since_us);
        }
    }

    /// Loses the connections whose time has come, while messages become due.
    pub(super) fn flap(&mut self, now_us: u64) {
        if now_us < self.control.send_from_us() || now_us >= self.control.send_until_us() {
            return;
        }
        for at in 0..self.members.len() {
            let Some(flap_at_us) = self.members[at].flap_at_us.filter(|flap_at_us| now_us >= *flap_at_us)
            else {
                continue;
            };
            // The first time is drawn, not taken: else all would go in one moment.
            if flap_at_us > 0 && self.members[at].away.is_none() {
                self.cut(at, now_us);
            }
            let every_us = self.config.habits.flap_every_ms as f64 * 1000.0;
            let lasting_us = if flap_at_us > 0 { 0.5 + self.rng.f64() } else { self.rng.f64() };
            self.members[at].flap_at_us = Some(now_us + 1 + (every_us * lasting_us) as u64);
        }
    }

    /// Cuts a connection, if it is open.
    fn cut(&mut self, at: usize, since_us: u64) {
        let member = &mut self.members[at];
        let Some(Socket::Open(open)) = &member.socket else { return };
        socket::cut(open);
        member.socket = None;
        member.client.closed();
        member.failures = 0;
        member.away = Some(Away { since_us, is_back: false });
        Counters::sub(&self.control.counters.connected);
        Counters::add(&self.control.counters.cut);
        self.back_off(at, 0);
    }

    /// Nobody paces those who come back from an outage but their own back-off: a fleet has no conductor.
    pub(super) fn is_paced(&self) -> bool {
        self.outages_seen == 0
    }

    /// A handshake is done.
    pub(super) fn note_back(&mut self, at: usize) {
        if let Some(away) = self.members[at].away.as_mut().filter(|away| !away.is_back) {
            away.is_back = true;
            self.latencies.back.record(self.control.now_us() - away.since_us);
            Counters::add(&self.control.counters.back);
        }
    }

    /// To be called when a client may have caught up.
    pub(super) fn note_synced(&mut self, at: usize) {
        let member = &mut self.members[at];
        if let Some(away) = member.away.filter(|_| member.client.is_synced()) {
            member.away = None;
            self.latencies.synced.record(self.control.now_us() - away.since_us);
            Counters::add(&self.control.counters.synced);
        }
    }
}
