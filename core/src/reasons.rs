//! Why something was refused, dropped or closed: closed sets of reasons, whose names are the labels of counters.
//!
//! Each thing that goes wrong adds one to one reason of one family ([`crate::ShardStats::families`]).

use std::fmt;
use std::marker::PhantomData;

/// A closed set of reasons.
pub trait Reason: Copy {
    /// Its names, as labels of a counter; [`Reason::at`] counts in this order.
    fn names() -> impl Iterator<Item = &'static str>;

    /// The place of this reason among the names.
    fn at(self) -> usize;
}

/// How often each reason of a set came up.
pub struct Counts<R> {
    counts: Vec<u64>,
    reasons: PhantomData<fn(R)>,
}

impl<R: Reason> Counts<R> {
    pub(crate) fn add(&mut self, reason: R) {
        self.counts[reason.at()] += 1;
    }

    /// How often this reason came up.
    #[must_use]
    pub fn of(&self, reason: R) -> u64 {
        self.counts[reason.at()]
    }

    /// How often any reason came up.
    #[must_use]
    pub fn sum(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// All reasons by name, those that never came up included.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        R::names().zip(self.counts.iter().copied())
    }
}

impl<R: Reason> Default for Counts<R> {
    fn default() -> Counts<R> {
        Counts { counts: vec![0; R::names().count()], reasons: PhantomData }
    }
}

impl<R> Clone for Counts<R> {
    fn clone(&self) -> Counts<R> {
        Counts { counts: self.counts.clone(), reasons: PhantomData }
    }
}

impl<R> PartialEq for Counts<R> {
    fn eq(&self, other: &Counts<R>) -> bool {
        self.counts == other.counts
    }
}

impl<R> Eq for Counts<R> {}

impl<R: Reason> fmt::Debug for Counts<R> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter().filter(|(_, count)| *count > 0)).finish()
    }
}

/// Declares a set of reasons with their names.
macro_rules! reasons {
    ($(#[$about:meta])* $set:ident { $($(#[$why:meta])* $reason:ident = $name:literal,)+ }) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $set {
            $($(#[$why])* $reason,)+
        }

        impl $crate::reasons::Reason for $set {
            fn names() -> impl Iterator<Item = &'static str> {
                [$($name),+].into_iter()
            }

            fn at(self) -> usize {
                self as usize
            }
        }
    };
}

pub(crate) use reasons;

reasons! {
    /// Why a connection was refused: a new one with 503, one on its way home with 1013.
    ConnectionRefused {
        /// The shard had `connections_per_shard_max`.
        Cap = "cap",
        /// The shard had `http_connections_per_shard_max` that are not upgraded.
        Handshakes = "handshakes",
        /// Its address had `http_connections_per_ip_max` of them.
        Peer = "peer",
        /// The shard's memory neared its ceiling.
        Memory = "memory",
        /// On its way home: `handoffs_max` were on that way already, or too many bytes with them.
        HandoffFull = "handoff_full",
        /// Come home: the shard had `connections_per_shard_max`.
        HandoffCap = "handoff_cap",
        /// Come home: the shard's memory neared its ceiling.
        HandoffMemory = "handoff_memory",
        /// Come home: the driver did not take the socket.
        HandoffSocket = "handoff_socket",
        /// On its way home: the shard had ended.
        HandoffEnded = "handoff_ended",
    }
}

reasons! {
    /// Why an HTTP connection was closed without an answer, by us or by its peer.
    HttpEnd {
        /// Nothing came within `head_deadline_ms` of the accept.
        NoRequest = "no_request",
        /// No further request came within `keep_alive_idle_ms`.
        KeepAlive = "keep_alive",
        /// The peer took nothing of an answer for `write_deadline_ms`.
        WriteDeadline = "write_deadline",
        /// The peer did not end within `close_deadline_ms` of the last answer.
        CloseDeadline = "close_deadline",
        /// Memory reached its ceiling, and the answer that it didn't take was among the largest.
        Memory = "memory",
        /// The engine drains.
        Drain = "drain",
        /// The peer left before it had sent a byte.
        Unused = "unused",
        /// The peer left within a request, or before its answer was written.
        Aborted = "aborted",
    }
}

reasons! {
    /// Why a socket was closed without the end of the closing handshake.
    ForcedBy {
        /// The handshake took longer than `close_deadline_ms`.
        CloseDeadline = "close_deadline",
        /// The peer took nothing for `write_deadline_ms`.
        WriteDeadline = "write_deadline",
        /// The peer was silent for `pong_deadline_ms` after our ping.
        Idle = "idle",
        /// The drain, or the engine, had come to its end.
        Drain = "drain",
    }
}

reasons! {
    /// Why a frame was left out.
    FrameDropped {
        /// Droppable, and the connection had `outbox_connection_max_bytes` queued.
        Outbox = "outbox",
        /// Droppable, and the shard's blocked connections had `outbox_shard_max_bytes` queued.
        ShardOutbox = "shard_outbox",
        /// Droppable, and the shard's memory neared its ceiling.
        Memory = "memory",
        /// A ping or pong of ours, for which the connection had no room.
        Control = "control",
    }
}

reasons! {
    /// Why a shard's mailbox did not take a mail.
    MailRefused {
        /// `mailbox_max_count` waited.
        Count = "count",
        /// `mailbox_max_bytes` would have waited.
        Bytes = "bytes",
        /// The shard had ended, or ended before it looked at the mail.
        Ended = "ended",
    }
}
