//! The thread that writes commits down and deletes what is consumed, some time after it happened.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use super::counts::Counts;
use super::log::Log;
use super::offsets::{self, Commits};
use super::partition::Partition;

/// How often age is looked at when nothing else happens.
const IDLE_ROUND: Duration = Duration::from_secs(60);

/// Tells the keeper that there is something to do. Ringing costs next to nothing while it is rung already.
#[derive(Debug, Default)]
pub(super) struct Signal {
    rung: AtomicBool,
    closing: Mutex<bool>,
    wake: Condvar,
}

impl Signal {
    pub(super) fn ring(&self) {
        if !self.rung.swap(true, Ordering::AcqRel) {
            // Taking the lock puts this after the keeper's look at `rung`, so that the wake-up isn't missed.
            drop(self.closing.lock().unwrap_or_else(PoisonError::into_inner));
            self.wake.notify_one();
        }
    }

    pub(super) fn close(&self) {
        *self.closing.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.wake.notify_one();
    }

    /// Waits until it is rung and then for `delay`, to gather more; says whether this is the last round.
    fn wait(&self, delay: Duration) -> bool {
        let closing = self.closing.lock().unwrap_or_else(PoisonError::into_inner);
        let idle = |closing: &mut bool| !*closing && !self.rung.load(Ordering::Acquire);
        let waited = self.wake.wait_timeout_while(closing, IDLE_ROUND, idle);
        let (closing, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let waited = self.wake.wait_timeout_while(closing, delay, |closing| !*closing);
        let (closing, _) = waited.unwrap_or_else(PoisonError::into_inner);
        self.rung.store(false, Ordering::Release);
        *closing
    }
}

pub(super) struct Keeper {
    pub(super) logs: Vec<Arc<Log>>,
    pub(super) partitions: Vec<Arc<Partition>>,
    pub(super) path: PathBuf,
    pub(super) delay: Duration,
    pub(super) signal: Arc<Signal>,
    pub(super) counts: Arc<Counts>,
}

impl Keeper {
    /// Until the signal is closed.
    pub(super) fn run(self) {
        let mut written = Commits::default();
        let mut failing = false;
        loop {
            let last_round = self.signal.wait(self.delay);
            let commits = offsets::collect(&self.partitions);
            if commits != written {
                match offsets::write(&self.path, &commits) {
                    Ok(()) => (written, failing) = (commits, false),
                    Err(error) => {
                        self.counts.commits_unwritten.inc();
                        // Said once until it works again; meanwhile each round tries.
                        if !std::mem::replace(&mut failing, true) {
                            tracing::warn!(path = %self.path.display(), %error, "commits stay in memory");
                        }
                        self.signal.rung.store(true, Ordering::Release);
                    }
                }
            }
            for log in &self.logs {
                log.retain();
            }
            if last_round {
                return;
            }
        }
    }
}
