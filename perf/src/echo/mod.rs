//! Load on a server that says everything back, light enough not to be the bottleneck: on most connections frames are made
//! ahead and replies counted by their length; one in `checked_every` is a whole tungstenite client that looks at contents.

mod count;
mod line;
mod worker;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::checker::{self, ConversationHistory, History, Verdict};
use crate::config::Target;
use crate::error::LoadError;
use crate::swarm::Control;
use worker::{Harvest, Worker};

/// One load.
#[derive(Debug, Clone)]
pub(crate) struct EchoConfig {
    pub(crate) target: Target,
    /// Of the upgrade.
    pub(crate) path: String,
    pub(crate) connections: usize,
    /// Messages that become due each second, over all connections. 0: each connection sends as soon as it may.
    pub(crate) rate_per_s: f64,
    /// Messages of one connection on the wire without a reply; what becomes due above it waits.
    pub(crate) depth: usize,
    pub(crate) message_bytes: usize,
    /// One connection in this many is checked by content; the first always is.
    pub(crate) checked_every: usize,
    pub(crate) connects_per_s: f64,
    pub(crate) threads: usize,
}

/// A running load.
#[derive(Debug)]
pub(crate) struct EchoLoad {
    pub(crate) control: Arc<Control>,
    threads: Vec<JoinHandle<Harvest>>,
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
    /// # Errors
    /// [`LoadError::Io`]: no thread or epoll instance left.
    pub(crate) fn start(mut config: EchoConfig) -> Result<EchoLoad, LoadError> {
        config.threads = config.threads.min(config.connections).max(1);
        let control = Arc::new(Control::new(config.connections));
        let config = Arc::new(config);
        let mut load = EchoLoad { control: control.clone(), threads: Vec::new() };
        for thread in 0..config.threads {
            let worker = Worker::new(config.clone(), control.clone(), thread)
                .map_err(|source| LoadError::Io { what: "no epoll instance", source })?;
            let handle = std::thread::Builder::new()
                .name(format!("echo-{thread}"))
                .spawn(move || worker.run())
                .map_err(|source| LoadError::Io { what: "no thread", source })?;
            load.threads.push(handle);
        }
        Ok(load)
    }

    /// Blocks until all are connected.
    ///
    /// # Errors
    /// [`LoadError::NotReady`].
    pub(crate) fn wait_connected(&self, connections: usize, patience: Duration) -> Result<(), LoadError> {
        let until = Instant::now() + patience;
        loop {
            let ready = self.control.counters.snapshot().connected;
            if ready >= connections as u64 {
                return Ok(());
            }
            if Instant::now() >= until {
                let trouble = self.control.counters.trouble();
                return Err(LoadError::NotReady { ready, users: connections as u64, trouble });
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Waits for the last replies, `patience` at most, and judges.
    pub(crate) fn stop(mut self, patience: Duration) -> EchoOutcome {
        self.control.finish(patience);
        let mut outcome = EchoOutcome { verdict: Verdict::default(), broken: Vec::new(), checked: 0 };
        let (mut lost, mut unasked) = (0, 0);
        let mut conversations: Vec<ConversationHistory> = Vec::new();
        for thread in self.threads.drain(..) {
            match thread.join() {
                Ok(harvest) => {
                    lost += harvest.lost;
                    unasked += harvest.unasked;
                    conversations.extend(harvest.checked);
                }
                Err(_) => outcome.broken.push("a thread of this program failed".to_owned()),
            }
        }
        outcome.checked = conversations.len();
        outcome.verdict = checker::check(&History { conversations });
        outcome.verdict.lost += lost;
        outcome.verdict.doubled += unasked;
        let progress = self.control.counters.snapshot();
        let counts = [
            (lost, "messages without a reply"),
            (unasked, "replies to nothing that was sent"),
            (progress.bad_frames, "frames that are no reply"),
            (progress.disconnects, "connections that ended"),
        ];
        let words =
            counts.iter().filter(|(count, _)| *count > 0).map(|(count, what)| format!("{count} {what}"));
        outcome.broken.extend(words);
        outcome
    }
}

impl Drop for EchoLoad {
    fn drop(&mut self) {
        self.control.abandon();
        for thread in self.threads.drain(..) {
            // A panic was reported by the thread's own hook.
            let _ = thread.join();
        }
    }
}
