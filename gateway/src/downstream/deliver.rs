//! A shard gives what came down to its connections.

use gochat_core::{ConnId, Cx, Frame, Priority, SendOutcome};

use super::split::{Item, Place};
use crate::{protocol::outbound, shard::Shard};

/// `resync` frames with different delays: enough to spread receivers, few enough to render.
const RESYNC_STEPS: u64 = 16;

impl Shard {
    pub(crate) fn deliver(&mut self, cx: &mut Cx<'_, Shard>, items: Vec<Item>) {
        let now = cx.unix_ms();
        // Nobody comes or goes before the last item.
        let mut all: Option<Vec<ConnId>> = None;
        for item in items {
            match item {
                Item::Users { frame, users, place, droppable } => {
                    let frame = Frame::text(&frame);
                    let mut queued = 0;
                    for user in users {
                        queued += match &place {
                            Some(place) if droppable => self.offer(cx, &cx.conns_of(user), &frame, place),
                            _ => cx.send_to_key(user, &frame, Priority::Keep) as u64,
                        };
                        if let Some(place) = &place {
                            self.rechecks.delivered(user, place);
                        }
                    }
                    self.delivered(queued, place.as_ref(), now);
                }
                Item::Everyone { frame, place } => {
                    let all = all.get_or_insert_with(|| self.agenda.conns().collect());
                    let queued = self.offer(cx, all, &Frame::text(&frame), &place);
                    self.rechecks.delivered_to_all(&place);
                    self.delivered(queued, Some(&place), now);
                }
                Item::Ack { frame, user_id, conn, send, stored } => {
                    self.finished(cx, send, stored);
                    self.deliver_ack(cx, &frame, user_id, conn);
                }
                Item::Resync { users, spread_ms } => self.resync(cx, users.as_deref(), spread_ms),
            }
        }
    }

    fn delivered(&mut self, queued: u64, place: Option<&Place>, now: i64) {
        self.counters.delivered += queued;
        if let Some(place) = place {
            let age_ms = now.saturating_sub(place.created_at_ms);
            self.counters.delivery_latency.note(u64::try_from(age_ms).unwrap_or(0), queued);
        }
    }

    /// Queues a message where there is room, and notes a gap where there is none; returns for how many it was queued.
    fn offer(&mut self, cx: &mut Cx<'_, Shard>, conns: &[ConnId], frame: &Frame, place: &Place) -> u64 {
        let mut queued = 0;
        for conn in conns {
            let Some(session) = cx.session(*conn) else { continue };
            let waits = session.gaps.as_ref().is_some_and(|gaps| gaps.has(&place.conversation_id));
            if !waits {
                match cx.send(*conn, frame, Priority::Droppable) {
                    SendOutcome::Queued => {
                        queued += 1;
                        continue;
                    }
                    SendOutcome::Dropped => {}
                    SendOutcome::Closing | SendOutcome::Gone => continue,
                }
            }
            self.counters.left_out += 1;
            let max = self.shared.config.downstream.gaps_per_connection_max;
            if let Some(session) = cx.session(*conn) {
                session.gaps.get_or_insert_default().note(place, max);
            }
        }
        queued
    }

    /// A connection for which messages were left out has room again.
    pub(crate) fn tell_gaps(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) {
        let Some(gaps) = cx.session(conn).and_then(|session| session.gaps.take()) else { return };
        let Some(gaps) = gaps.told() else {
            let spread_ms = self.shared.config.downstream.resync_spread_ms;
            let delay_ms = self.random.next() % (spread_ms + 1);
            self.counters.gaps_overflown += 1;
            return self.send_resync(cx, conn, delay_ms);
        };
        for gap in gaps {
            let frame = outbound::gap(&gap.conversation_id, gap.from_seq, gap.to_seq, cx.unix_ms());
            if self.queue(cx, conn, &frame).is_break() {
                return;
            }
            self.counters.gaps += 1;
        }
    }

    /// A sender that has gone sends his message again and is answered then.
    fn deliver_ack(&mut self, cx: &mut Cx<'_, Shard>, frame: &[u8], user_id: u64, conn: ConnId) {
        if cx.key_of(conn) != Some(user_id) {
            self.counters.acks_stale += 1;
            return;
        }
        match cx.send(conn, &Frame::text(frame), Priority::Keep) {
            SendOutcome::Queued => self.counters.acks_final += 1,
            SendOutcome::Dropped | SendOutcome::Closing | SendOutcome::Gone => self.counters.acks_stale += 1,
        }
    }

    /// Sends `resync` at once, each connection with a delay of its own. Something was lost on its way down, and answers
    /// to sends may be among it: how far the pipeline lags is measured anew.
    pub(crate) fn resync(&mut self, cx: &mut Cx<'_, Shard>, users: Option<&[u64]>, spread_ms: u64) {
        self.unfinished.clear();
        let conns: Vec<ConnId> = match users {
            None => self.agenda.conns().collect(),
            Some(users) => users.iter().flat_map(|user| cx.conns_of(*user)).collect(),
        };
        let now = cx.unix_ms();
        let frames: Vec<Frame> = (1..=RESYNC_STEPS)
            .map(|step| Frame::text(&outbound::resync(spread_ms * step / RESYNC_STEPS, now)))
            .collect();
        // Starts anywhere, so that single users are spread too.
        let start = self.random.next() as usize;
        for (index, conn) in conns.into_iter().enumerate() {
            let frame = &frames[start.wrapping_add(index) % frames.len()];
            if cx.send(conn, frame, Priority::Keep) == SendOutcome::Queued {
                self.counters.resyncs += 1;
            }
        }
    }
}
