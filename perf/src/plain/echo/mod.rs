//! Messages that a server says back.

mod line;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use super::{Crew, Plan, in_words};
use crate::checker::{self, History, Verdict};
use crate::error::LoadError;
use crate::swarm::Control;
use worker::{Harvest, Worker};

/// One load.
#[derive(Debug, Clone)]
pub(crate) struct EchoConfig {
    pub(crate) plan: Arc<Plan>,
    /// Messages that become due each second, over all connections. 0: each connection sends as soon as it may.
    pub(crate) rate_per_s: f64,
    /// Messages of one connection on the wire without a reply; what becomes due above it waits.
    pub(crate) depth: usize,
    /// Latencies of what becomes due in the first of it are not kept.
    pub(crate) warm_us: u64,
}

/// A running load.
#[derive(Debug)]
pub(crate) struct EchoLoad {
    pub(crate) control: Arc<Control>,
    crew: Crew<Harvest>,
}

/// How it went.
#[derive(Debug)]
pub(crate) struct EchoOutcome {
    pub(crate) verdict: Verdict,
    pub(crate) broken: Vec<String>,
    /// Connections whose contents were looked at.
    pub(crate) checked: usize,
}

impl EchoLoad {
    /// Begins with the first `connect_limit` of the connections.
    ///
    /// # Errors
    /// [`LoadError::Io`]: no thread or epoll instance left.
    pub(crate) fn start(config: EchoConfig, connect_limit: usize) -> Result<EchoLoad, LoadError> {
        let control = Arc::new(Control::new(connect_limit));
        let config = Arc::new(config);
        let mut crew = Crew { control: control.clone(), threads: Vec::new() };
        for thread in 0..config.plan.threads {
            let worker = Worker::new(config.clone(), control.clone(), thread)
                .map_err(|source| LoadError::Io { what: "no epoll instance", source })?;
            crew.add(format!("echo-{thread}"), || worker.run())?;
        }
        Ok(EchoLoad { control, crew })
    }

    /// Waits for the last replies, `patience` at most, and judges.
    pub(crate) fn stop(self, patience: Duration) -> EchoOutcome {
        self.control.finish(patience);
        let mut whole = Harvest::default();
        let mut broken = Vec::new();
        for end in self.crew.join() {
            match end {
                Ok(harvest) => whole.add(harvest),
                Err(why) => broken.push(why.to_owned()),
            }
        }
        let checked = whole.checked.len();
        let mut verdict = checker::check(&History { conversations: whole.checked });
        verdict.lost += whole.lost;
        verdict.doubled += whole.unasked;
        let progress = self.control.counters.snapshot();
        broken.extend(in_words(&[
            (whole.lost, "messages without a reply"),
            (whole.unasked, "replies to nothing that was sent"),
            (progress.bad_frames, "frames that are no reply, or have other contents"),
            (progress.disconnects, "connections that ended"),
            (whole.silent, "connections that did not answer a ping at the end"),
        ]));
        EchoOutcome { verdict, broken, checked }
    }
}
