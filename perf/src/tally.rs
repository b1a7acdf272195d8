//! What the load counts while it runs, and its latencies.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use serde::{Deserialize, Serialize};

use crate::latency::Latency;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counted by the threads of a load, read by whoever shows progress.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
            trouble: Mutex<String>,
        }

        /// A look at the counters of a load.
        #[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
        pub struct Progress {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Progress {
            /// Counts what another part of the load counted.
            pub(crate) fn add(&mut self, other: &Progress) {
                $(self.$name += other.$name;)*
            }
        }

        impl Counters {
            pub(crate) fn snapshot(&self) -> Progress {
                Progress { $($name: self.$name.load(Relaxed),)* }
            }
        }
    };
}

counters! {
    /// Sessions whose first `heads` was answered; they stay counted when they disconnect.
    ready,
    /// Sessions connected now.
    connected,
    /// Connects and handshakes that failed.
    connect_failures,
    /// Of these, upgrades that the server refused and said when to come again.
    refused_with_retry_after,
    /// Of these, upgrades that the server refused without a time.
    refused_without_retry_after,
    /// Open connections that ended, other than by an outage of this load.
    disconnects,
    /// Connections of slow readers that ended; not counted as disconnects.
    slow_ended,
    /// Of these, those that the server closed with 1013.
    slow_ended_with_1013,
    /// `gap` frames of the session's conversation.
    gaps_told,
    /// Messages that were left out, as these say.
    left_out,
    /// Connections that an outage of this load cut.
    cut,
    /// Of the cut ones, those that are connected again.
    back,
    /// Of the cut ones, those that are level with the server again.
    synced,
    /// Messages that became due and entered an outbox.
    sent,
    /// Messages that became due while the outbox was full: never sent.
    skipped,
    /// Messages written to a connection again: after `retry`, 10 s of silence or a reconnect.
    resent,
    /// Messages with at least one `accepted`.
    accepted,
    /// Messages with a `stored` ack.
    stored,
    /// Messages with a `rejected` ack.
    rejected,
    /// `retry` acks.
    retried,
    /// Messages given to their receiver's application.
    delivered,
    /// Deliveries whose (conversation, seq) the client had already: allowed, and dropped.
    redelivered,
    /// Holes in live delivery that stayed open and had to be synced.
    holes,
    /// `sync` requests, final readings left out.
    syncs,
    /// `resync` orders from the server.
    resyncs,
    /// Requests that were answered by an `error` with a time to come again: allowed.
    put_off,
    /// Frames that could not be used: other `error` frames, bad JSON, acks of unknown messages.
    bad_frames,
    /// Sessions that have read their final history.
    finished,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
    }

    pub(crate) fn add_many(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Relaxed);
    }

    pub(crate) fn sub(counter: &AtomicU64) {
        counter.fetch_sub(1, Relaxed);
    }

    /// Keeps the last thing that went wrong, in words.
    pub(crate) fn note_trouble(&self, what: impl FnOnce() -> String) {
        // Whoever is noting one at this moment notes enough.
        if let Ok(mut trouble) = self.trouble.try_lock() {
            *trouble = what();
        }
    }

    pub(crate) fn trouble(&self) -> String {
        self.trouble.lock().map(|trouble| trouble.clone()).unwrap_or_default()
    }
}

macro_rules! latencies {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Latencies from the moment when a message was due, so that a stall of the server or of this
        /// program counts for every message that had to wait behind it.
        #[derive(Debug, Clone, Default, Serialize, Deserialize)]
        pub struct Latencies {
            $($(#[$doc])* pub $name: Latency,)*
        }

        impl Latencies {
            pub(crate) fn merge(&mut self, other: &Latencies) {
                $(if other.$name.len() > 0 { self.$name.merge(&other.$name); })*
            }

            pub(crate) fn clear(&mut self) {
                $(if self.$name.len() > 0 { self.$name.clear(); })*
            }

            /// Those that hold anything, by name.
            pub(crate) fn named(self) -> impl Iterator<Item = (&'static str, Latency)> {
                [$((stringify!($name), self.$name)),*].into_iter().filter(|(_, latency)| latency.len() > 0)
            }
        }
    };
}

latencies! {
    /// Due → first `stored` ack.
    ack,
    /// Due → given to the receiver's application, in order.
    deliver,
    /// Due → given to the last of the receivers, in a conversation of more than two.
    last,
    /// The same of readers that this load makes slow.
    slow,
    /// Due → said back by an echo server.
    echo,
    /// Due → connected, upgraded, and the first message said back.
    handshake,
    /// Due → taken up by this program: its own share in the two above.
    lateness,
    /// Cut by an outage → connected again.
    back,
    /// Cut by an outage → connected, and nothing that the server holds is missing.
    synced,
}
