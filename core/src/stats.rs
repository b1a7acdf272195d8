//! What a shard counts. The live counters are plain numbers of the shard; others get copies through the mailbox.

use crate::app::CloseReason;
use crate::http::RequestRefused;
use crate::reasons::{ConnectionRefused, Counts, ForcedBy, FrameDropped, HttpEnd, MailRefused};

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
    /// Connections refused.
    pub refusals: Counts<ConnectionRefused>,
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
    /// Requests refused by the engine.
    pub requests_refused: Counts<RequestRefused>,
    /// Requests that the app left unanswered (504).
    pub requests_unanswered: u64,
    /// HTTP connections closed without an answer.
    pub http_ends: Counts<HttpEnd>,
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
    /// Frames left out.
    pub frames_dropped: Counts<FrameDropped>,
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

    /// Ended WebSocket connections. The codes of [`CloseReason::Peer`] and [`CloseReason::App`] are not told apart.
    pub closes: Counts<CloseReason>,
    /// Of them, those whose sockets were closed without the end of the closing handshake.
    pub forced_closes: Counts<ForcedBy>,

    /// Mails that the mailbox did not take.
    pub mails_refused: Counts<MailRefused>,
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
    /// Everything that was refused, dropped or closed: what a family counts, in words, and its reasons.
    #[must_use]
    pub fn families(&self) -> [Family; 7] {
        let family = |name, about, counts| Family { name, about, counts };
        [
            family("refusals", "Connections refused", self.refusals.iter().collect()),
            family(
                "requests_refused",
                "HTTP requests refused by the engine",
                self.requests_refused.iter().collect(),
            ),
            family("http_ends", "HTTP connections closed without an answer", self.http_ends.iter().collect()),
            family("closes", "Ended WebSocket connections", self.closes.iter().collect()),
            family(
                "forced_closes",
                "Sockets closed without the end of a handshake",
                self.forced_closes.iter().collect(),
            ),
            family("frames_dropped", "Frames left out", self.frames_dropped.iter().collect()),
            family("mails_refused", "Mails that a mailbox did not take", self.mails_refused.iter().collect()),
        ]
    }
}

/// Counters of one kind by their reasons.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Family {
    /// Its name, as counters use it.
    pub name: &'static str,
    /// What is counted.
    pub about: &'static str,
    /// Every reason by name, always the same in the same order.
    pub counts: Vec<(&'static str, u64)>,
}
