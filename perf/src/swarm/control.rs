//! The strings by which a load's threads are pulled.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::tally::{Counters, Latencies};

/// Two ticks of a thread.
const LEAD_IN: Duration = Duration::from_millis(100);

/// What the threads of a load share with whoever runs it.
#[derive(Debug)]
pub(crate) struct Control {
    began: Instant,
    pub(crate) counters: Counters,
    ledger: Mutex<Ledger>,
    /// Clients with a smaller index may connect.
    connect_limit: AtomicU64,
    /// µs since `began`; `u64::MAX`: not yet.
    send_from_us: AtomicU64,
    send_until_us: AtomicU64,
    give_up_at_us: AtomicU64,
    /// How often all connections were cut.
    outages: AtomicU64,
    /// Leave as you are: no draining, no final reading.
    abandoned: AtomicBool,
}

/// The latencies that the threads have handed over.
#[derive(Debug, Default)]
struct Ledger {
    /// Since the last look.
    fresh: Latencies,
    /// Before it.
    seen: Latencies,
}

impl Control {
    pub(crate) fn new(connect_limit: usize) -> Control {
        let never = || AtomicU64::new(u64::MAX);
        Control {
            began: Instant::now(),
            counters: Counters::default(),
            ledger: Mutex::default(),
            connect_limit: AtomicU64::new(connect_limit as u64),
            send_from_us: never(),
            send_until_us: never(),
            give_up_at_us: never(),
            outages: AtomicU64::new(0),
            abandoned: AtomicBool::new(false),
        }
    }

    pub(crate) fn now_us(&self) -> u64 {
        self.began.elapsed().as_micros() as u64
    }

    pub(crate) fn let_connect(&self, limit: usize) {
        self.connect_limit.store(limit as u64, Ordering::Release);
    }

    /// Returns when the first message will be due: a little later, so that no thread wakes up late for it.
    pub(crate) fn begin_sending(&self, lasting: Option<Duration>) -> Instant {
        let from = Instant::now() + LEAD_IN;
        self.begin_sending_at(from, lasting);
        from
    }

    pub(crate) fn begin_sending_at(&self, from: Instant, lasting: Option<Duration>) {
        let from_us = from.saturating_duration_since(self.began).as_micros() as u64;
        if let Some(lasting) = lasting {
            self.send_until_us.store(from_us + lasting.as_micros() as u64, Ordering::Release);
        }
        self.send_from_us.store(from_us, Ordering::Release);
    }

    pub(crate) fn end_sending(&self) {
        self.send_until_us.fetch_min(self.now_us(), Ordering::AcqRel);
    }

    /// Ends the sending, and the draining and reading after it by `deadline` from now at the latest.
    pub(crate) fn finish(&self, deadline: Duration) {
        self.give_up_at_us.store(self.now_us() + deadline.as_micros() as u64, Ordering::Release);
        self.end_sending();
    }

    /// Every thread cuts its connections in its next turn.
    pub(crate) fn cut_all(&self) {
        self.outages.fetch_add(1, Ordering::AcqRel);
    }

    pub(crate) fn abandon(&self) {
        self.abandoned.store(true, Ordering::Release);
    }

    /// Takes what a thread has measured since it last did this.
    pub(crate) fn hand_over(&self, latencies: &mut Latencies) {
        if let Ok(mut ledger) = self.ledger.lock() {
            ledger.fresh.merge(latencies);
        }
        latencies.clear();
    }

    /// What was handed over since the last call.
    pub(crate) fn fresh_latencies(&self) -> Latencies {
        let Ok(mut ledger) = self.ledger.lock() else { return Latencies::default() };
        let fresh = std::mem::take(&mut ledger.fresh);
        ledger.seen.merge(&fresh);
        fresh
    }

    /// All that was handed over.
    pub(crate) fn all_latencies(&self) -> Latencies {
        self.fresh_latencies();
        self.ledger.lock().map(|ledger| ledger.seen.clone()).unwrap_or_default()
    }

    pub(crate) fn connect_limit(&self) -> u64 {
        self.connect_limit.load(Ordering::Acquire)
    }

    /// `u64::MAX`: not yet; so are the next two.
    pub(crate) fn send_from_us(&self) -> u64 {
        self.send_from_us.load(Ordering::Acquire)
    }

    pub(crate) fn send_until_us(&self) -> u64 {
        self.send_until_us.load(Ordering::Acquire)
    }

    pub(crate) fn give_up_at_us(&self) -> u64 {
        self.give_up_at_us.load(Ordering::Acquire)
    }

    pub(crate) fn outages(&self) -> u64 {
        self.outages.load(Ordering::Acquire)
    }

    pub(crate) fn is_abandoned(&self) -> bool {
        self.abandoned.load(Ordering::Acquire)
    }
}
