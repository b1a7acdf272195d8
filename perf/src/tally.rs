//! What the load counts while it runs, and its latencies.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

use hdrhistogram::Histogram;

macro_rules! counters {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Counted by the threads of a load, read by whoever shows progress.
        #[derive(Debug, Default)]
        pub(crate) struct Counters {
            $($(#[$doc])* pub(crate) $name: AtomicU64,)*
            trouble: Mutex<String>,
        }

        /// A look at the counters of a load.
        #[derive(Debug, Clone, Default, PartialEq, Eq)]
        pub struct Progress {
            $($(#[$doc])* pub $name: u64,)*
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
    /// Frames that could not be used: `error` frames, bad JSON, acks of unknown messages.
    bad_frames,
    /// Sessions that have read their final history.
    finished,
}

impl Counters {
    pub(crate) fn add(counter: &AtomicU64) {
        counter.fetch_add(1, Relaxed);
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

/// Latencies in µs from the moment when a message was due, so that a stall of the server or of this
/// program counts for every message that had to wait behind it.
#[derive(Debug, Clone)]
pub struct Latencies {
    /// Due → first `stored` ack.
    pub ack: Histogram<u64>,
    /// Due → given to the receiver's application, in order.
    pub deliver: Histogram<u64>,
    /// Due → taken up by this program: its own share in the two above.
    pub lateness: Histogram<u64>,
    /// Cut by an outage → connected again.
    pub back: Histogram<u64>,
    /// Cut by an outage → connected, and nothing that the server holds is missing.
    pub synced: Histogram<u64>,
}

/// An hour; longer counts as this.
const LATENCY_US_MAX: u64 = 3_600_000_000;

impl Default for Latencies {
    fn default() -> Self {
        Latencies {
            ack: histogram(),
            deliver: histogram(),
            lateness: histogram(),
            back: histogram(),
            synced: histogram(),
        }
    }
}

fn histogram() -> Histogram<u64> {
    // Constant arguments within the crate's limits: 1 < 2 * low <= high, at most 5 digits.
    Histogram::new_with_bounds(1, LATENCY_US_MAX, 3).unwrap_or_else(|_| unreachable!("constant bounds"))
}

impl Latencies {
    pub(crate) fn record_ack(&mut self, us: u64) {
        self.ack.saturating_record(us);
    }

    pub(crate) fn record_deliver(&mut self, us: u64) {
        self.deliver.saturating_record(us);
    }

    pub(crate) fn record_lateness(&mut self, us: u64) {
        self.lateness.saturating_record(us);
    }

    pub(crate) fn record_back(&mut self, us: u64) {
        self.back.saturating_record(us);
    }

    pub(crate) fn record_synced(&mut self, us: u64) {
        self.synced.saturating_record(us);
    }

    pub(crate) fn merge(&mut self, other: &Latencies) {
        // Same bounds on both sides: cannot fail.
        let _ = self.ack.add(&other.ack);
        let _ = self.deliver.add(&other.deliver);
        let _ = self.lateness.add(&other.lateness);
        let _ = self.back.add(&other.back);
        let _ = self.synced.add(&other.synced);
    }
}
