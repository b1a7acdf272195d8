//! A scenario's load: in threads of this process, or in agents. All can fail, as an agent may be lost.

use std::time::{Duration, Instant};

use crate::agent::RemoteLoad;
use crate::error::LoadError;
use crate::load::{ChatLoad, LoadOutcome};
use crate::tally::{Latencies, Progress};

#[derive(Debug)]
pub(crate) enum Load {
    Here(ChatLoad),
    Agents(RemoteLoad),
}

/// How soon a lost agent is noticed while nothing else is to be done.
const LOOK_EVERY: Duration = Duration::from_secs(1);

impl Load {
    pub(super) fn let_connect(&self, limit: usize) -> Result<(), LoadError> {
        match self {
            Load::Here(load) => load.let_connect(limit),
            Load::Agents(load) => load.let_connect(limit)?,
        }
        Ok(())
    }

    /// Returns when the first message will be due.
    pub(super) fn begin(&self) -> Result<Instant, LoadError> {
        match self {
            Load::Here(load) => Ok(load.begin()),
            Load::Agents(load) => load.begin(None),
        }
    }

    pub(super) fn begin_for(&self, lasting: Duration) -> Result<Instant, LoadError> {
        match self {
            Load::Here(load) => Ok(load.begin_for(lasting)),
            Load::Agents(load) => load.begin(Some(lasting)),
        }
    }

    pub(super) fn end_sending(&self) -> Result<(), LoadError> {
        match self {
            Load::Here(load) => load.end_sending(),
            Load::Agents(load) => load.end_sending()?,
        }
        Ok(())
    }

    pub(super) fn cut_all(&self) -> Result<(), LoadError> {
        match self {
            Load::Here(load) => load.cut_all(),
            Load::Agents(load) => load.cut_all()?,
        }
        Ok(())
    }

    pub(super) fn progress(&self) -> Result<Progress, LoadError> {
        match self {
            Load::Here(load) => Ok(load.progress()),
            Load::Agents(load) => load.progress(),
        }
    }

    pub(super) fn fresh_latencies(&self) -> Result<Latencies, LoadError> {
        match self {
            Load::Here(load) => Ok(load.fresh_latencies()),
            Load::Agents(load) => load.fresh_latencies(),
        }
    }

    /// The last thing that went wrong, in words; empty: nothing.
    pub(super) fn trouble(&self) -> Result<String, LoadError> {
        match self {
            Load::Here(load) => Ok(load.trouble()),
            Load::Agents(load) => load.trouble(),
        }
    }

    pub(super) fn finish(&self, deadline: Duration) -> Result<(), LoadError> {
        match self {
            Load::Here(load) => load.finish(deadline),
            Load::Agents(load) => load.finish(deadline)?,
        }
        Ok(())
    }

    pub(super) fn is_finished(&self) -> Result<bool, LoadError> {
        match self {
            Load::Here(load) => Ok(load.is_finished()),
            Load::Agents(load) => load.is_finished(),
        }
    }

    /// After [`Load::finish`]: the outcome as it is by now.
    pub(super) fn stop(self) -> Result<LoadOutcome, LoadError> {
        match self {
            Load::Here(load) => Ok(load.stop(Duration::ZERO)),
            Load::Agents(load) => load.stop(),
        }
    }

    /// Waits, and notices whom it loses meanwhile.
    pub(super) fn rest(&self, lasting: Duration) -> Result<(), LoadError> {
        let until = Instant::now() + lasting;
        while let Some(rest) = until.checked_duration_since(Instant::now()).filter(|rest| !rest.is_zero()) {
            std::thread::sleep(rest.min(LOOK_EVERY));
            self.progress()?;
        }
        Ok(())
    }
}
