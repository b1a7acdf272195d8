//! Visits: connect, upgrade, one message there and back, close; again and again.

mod visit;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use super::{Crew, in_words};
use crate::config::Target;
use crate::error::LoadError;
use crate::swarm::Control;
use worker::{Harvest, Worker};

/// One load.
#[derive(Debug, Clone)]
pub(crate) struct VisitsConfig {
    pub(crate) target: Target,
    /// Of the upgrade.
    pub(crate) path: String,
    /// Visits at a time; what becomes due above it waits.
    pub(crate) concurrent: usize,
    /// Visits that become due each second. 0: one begins where one ends.
    pub(crate) rate_per_s: f64,
    /// Of text in the one message.
    pub(crate) message_bytes: usize,
    /// Whether a visit ends with the closing handshake; else with a reset, as soon as its message is back.
    pub(crate) closes: bool,
    /// A visit that takes longer has failed.
    pub(crate) visit_max_us: u64,
    /// Latencies of what becomes due in the first of it are not kept.
    pub(crate) warm_us: u64,
    pub(crate) threads: usize,
}

/// A running load. Its counters: `sent` visits begun, `delivered` visits done, `connect_failures` visits failed.
#[derive(Debug)]
pub(crate) struct VisitsLoad {
    pub(crate) control: Arc<Control>,
    crew: Crew<Harvest>,
}

impl VisitsLoad {
    /// # Errors
    /// [`LoadError::Io`]: no thread or epoll instance left.
    pub(crate) fn start(config: VisitsConfig) -> Result<VisitsLoad, LoadError> {
        let control = Arc::new(Control::new(0));
        let config = Arc::new(config);
        let mut crew = Crew { control: control.clone(), threads: Vec::new() };
        for thread in 0..config.threads {
            let worker = Worker::new(config.clone(), control.clone(), thread)
                .map_err(|source| LoadError::Io { what: "no epoll instance", source })?;
            crew.add(format!("visits-{thread}"), || worker.run())?;
        }
        Ok(VisitsLoad { control, crew })
    }

    /// # Errors
    /// [`LoadError::NotReady`]: visits have failed, and none was ever done.
    pub(crate) fn check_welcome(&self, concurrent: usize) -> Result<(), LoadError> {
        let now = self.control.counters.snapshot();
        if now.connect_failures > 0 && now.delivered == 0 {
            let trouble = self.control.counters.trouble();
            return Err(LoadError::NotReady { ready: 0, users: concurrent as u64, trouble });
        }
        Ok(())
    }

    /// Waits for the visits that are due, `patience` at most; what was broken, in words.
    pub(crate) fn stop(self, patience: Duration) -> Vec<String> {
        self.control.finish(patience);
        let mut broken = Vec::new();
        let mut unfinished = 0;
        for end in self.crew.join() {
            match end {
                Ok(harvest) => unfinished += harvest.unfinished,
                Err(why) => broken.push(why.to_owned()),
            }
        }
        let counters = &self.control.counters;
        let failed = counters.snapshot().connect_failures;
        broken.extend(in_words(&[(unfinished, "visits became due and did not end")]));
        if failed > 0 {
            broken.push(format!("{failed} visits failed; the last: {}", counters.trouble()));
        }
        broken
    }
}
