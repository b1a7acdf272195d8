//! A shard gives what came down to its connections.

use gochat_core::{ConnId, Cx, Frame, Priority, SendOutcome};

use super::split::{Item, Place};
use crate::{protocol::outbound, shard::Shard};

/// `resync` frames with different delays: enough to spread receivers, few enough to render.
const RESYNC_STEPS: u64 = 16;

impl Shard {
    pub(crate) fn deliver(&mut self, cx: &mut Cx<'_, Shard>, items: Vec<Item>) {
        for item in items {
            match item {
                Item::Users { frame, users, place } => {
                    let frame = Frame::text(&frame);
                    for user in users {
                        self.counters.delivered += cx.send_to_key(user, &frame, Priority::Keep) as u64;
                        if let Some(place) = &place {
                            self.rechecks.delivered(user, place);
                        }
                    }
                }
                Item::Everyone { frame, place } => self.deliver_to_all(cx, &frame, place.as_ref()),
                Item::Connection { frame, user_id, conn } => self.deliver_ack(cx, &frame, user_id, conn),
                Item::Resync { users, spread_ms } => self.resync(cx, users.as_deref(), spread_ms),
            }
        }
    }

    fn deliver_to_all(&mut self, cx: &mut Cx<'_, Shard>, frame: &[u8], place: Option<&Place>) {
        self.counters.delivered += cx.send_to_all(&Frame::text(frame), Priority::Keep) as u64;
        if let Some(place) = place {
            self.rechecks.delivered_to_all(place);
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

    /// Sends `resync` at once, each connection with a delay of its own.
    pub(crate) fn resync(&mut self, cx: &mut Cx<'_, Shard>, users: Option<&[u64]>, spread_ms: u64) {
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
