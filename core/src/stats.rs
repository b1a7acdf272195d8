//! What a shard counts. The live counters are plain numbers of the shard; others get copies through the mailbox.

use crate::app::CloseReason;

/// Counters and gauges of one shard. Counters only grow; gauges are marked.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct ShardStats {
    /// The shard's number.
    pub shard: usize,
    /// Sockets accepted, refused ones included.
    pub accepted: u64,
    /// Pauses of accepting because of EMFILE, ENFILE, ENOBUFS or ENOMEM.
    pub accept_backoffs: u64,
    /// Other errors of accept, those of aborted connections included.
    pub accept_errors: u64,
    /// Refused because the shard had its most connections.
    pub refused_cap: u64,
    /// Refused because the shard had its most connections that are not upgraded.
    pub refused_handshakes: u64,
    /// Refused because their peer had its most connections that are not upgraded.
    pub refused_peer: u64,
    /// Refused because the shard's memory neared its ceiling: new ones, and upgraded ones that came home.
    pub refused_memory: u64,
    /// Upgraded connections closed because their home shard had no room for them, or had ended.
    pub refused_handoff: u64,
    /// Connections sent to their home on another shard.
    pub handed_over: u64,
    /// Connections that came home from another shard.
    pub handed_in: u64,
    /// Connections that came from another shard and found no room.
    pub handed_refused: u64,

    /// Gauge: connections that are not upgraded.
    pub http_connections: u64,
    /// Gauge: upgraded connections, closing ones included.
    pub ws_connections: u64,
    /// Gauge: upgraded connections whose closing handshake goes on.
    pub ws_closing: u64,
    /// Gauge: keys with a connection.
    pub keys: u64,

    /// Whole requests given to the app.
    pub requests: u64,
    /// Requests refused by the engine (4xx of its own).
    pub requests_refused: u64,
    /// Requests that the app left unanswered (504).
    pub requests_unanswered: u64,
    /// HTTP connections closed for a deadline (head, body, keep-alive).
    pub http_timeouts: u64,
    /// Answers given for a request that was no longer there.
    pub answers_late: u64,
    /// Upgrades done.
    pub upgrades: u64,

    /// Bytes received.
    pub bytes_in: u64,
    /// Bytes sent.
    pub bytes_out: u64,
    /// Reads that returned bytes.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
    /// Writes that the socket didn't take whole.
    pub writes_blocked: u64,
    /// Data messages received.
    pub messages_in: u64,
    /// Frames queued, control frames included.
    pub frames_out: u64,
    /// Droppable frames dropped because a budget was full.
    pub frames_dropped: u64,
    /// Frames that were queued when their connection ended.
    pub frames_discarded: u64,
    /// Pings sent.
    pub pings: u64,

    /// Gauge: bytes queued for sending.
    pub outbox_bytes: u64,
    /// Gauge: bytes of incomplete input.
    pub input_bytes: u64,
    /// Gauge: live bytes of all kinds, which `memory_shard_max_bytes` bounds; `input_bytes` and the next four are its parts.
    pub memory_bytes: u64,
    /// Gauge: bytes of connections' entries and tasks.
    pub connections_bytes: u64,
    /// Gauge: bytes of frames and answers that blocked sockets have not taken.
    pub blocked_bytes: u64,
    /// Gauge: bytes of mails that waited at the last tick.
    pub mailbox_bytes: u64,
    /// Gauge: bytes in free lists.
    pub free_bytes: u64,
    /// Times that the free lists were freed because memory neared its ceiling.
    pub shed_free_lists: u64,
    /// Of `frames_dropped`, those because memory neared its ceiling.
    pub shed_frames: u64,
    /// HTTP connections closed over an answer that they didn't take, because memory reached its ceiling.
    pub shed_answers: u64,
    /// Times that incomplete input didn't fit in the shard's budget.
    pub input_over_budget: u64,

    /// Ended connections by reason, see [`ShardStats::closes`].
    pub(crate) closes: [u64; CloseReason::KINDS],
    /// Sockets closed without the end of the closing handshake, for its deadline or at the end of a drain.
    pub forced_closes: u64,

    /// Mails handled.
    pub mails: u64,
    /// Bursts in which they came.
    pub mail_bursts: u64,
    /// Gauge: mails that wait.
    pub mailbox_depth: u64,
    /// App timers that fired.
    pub timers: u64,
    /// Gauge: app timers that are set.
    pub timers_set: u64,
    /// App timers refused because too many were set.
    pub timers_refused: u64,
    /// Panics caught.
    pub panics: u64,
}

impl ShardStats {
    /// Ended WebSocket connections by reason.
    pub fn closes(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        CloseReason::NAMES.iter().copied().zip(self.closes.iter().copied())
    }

    /// Ended WebSocket connections of one kind of reason (the code is not compared).
    #[must_use]
    pub fn closed_by(&self, reason: CloseReason) -> u64 {
        self.closes[reason.kind()]
    }

    /// Connections refused, by reason.
    pub fn refusals(&self) -> impl Iterator<Item = (&'static str, u64)> + use<> {
        [
            ("cap", self.refused_cap),
            ("handshakes", self.refused_handshakes),
            ("peer", self.refused_peer),
            ("memory", self.refused_memory),
            ("handoff", self.refused_handoff),
        ]
        .into_iter()
    }
}
