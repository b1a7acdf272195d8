//! Stopping: one request that everybody sees, and stages that end in a stated order.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::time::{Duration, Instant};

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// "File size limit exceeded" on Linux, on every architecture we build for.
const SIGXFSZ: std::ffi::c_int = 25;

/// The request to stop. Clones share it; once requested it stays requested.
#[derive(Debug, Clone)]
pub struct Shutdown {
    state: watch::Sender<bool>,
}

impl Default for Shutdown {
    fn default() -> Self {
        Shutdown::new()
    }
}

impl Shutdown {
    /// A request that nobody has made yet.
    pub fn new() -> Shutdown {
        Shutdown { state: watch::Sender::new(false) }
    }

    /// Asks everybody to stop. From any thread, any number of times.
    pub fn trigger(&self) {
        self.state.send_replace(true);
    }

    /// Whether somebody asked.
    pub fn is_requested(&self) -> bool {
        *self.state.borrow()
    }

    /// Waits until somebody asks; at once when it has happened. Cancel safe.
    pub async fn requested(&self) {
        let mut state = self.state.subscribe();
        // The sender lives in self, so the wait can't fail.
        let _ = state.wait_for(|requested| *requested).await;
    }

    /// SIGTERM or SIGINT requests the stop; a second one ends the process at once with status 130. SIGXFSZ is
    /// ignored from now on.
    ///
    /// # Errors
    /// When the handlers can't be installed.
    pub fn on_signals(&self) -> io::Result<()> {
        // A write beyond a file-size limit shall fail, which the queue answers, and not end the process. The
        // handler outlives its receiver.
        drop(signal(SignalKind::from_raw(SIGXFSZ))?);
        let mut term = signal(SignalKind::terminate())?;
        let mut int = signal(SignalKind::interrupt())?;
        let shutdown = self.clone();
        tokio::spawn(async move {
            loop {
                let name = tokio::select! {
                    _ = term.recv() => "SIGTERM",
                    _ = int.recv() => "SIGINT",
                };
                if shutdown.is_requested() {
                    tracing::warn!(signal = name, "second signal: leaving at once");
                    crate::telemetry::flush_logs();
                    std::process::exit(130);
                }
                // First the stop, then the word about it: nobody may be reading the log any more.
                shutdown.trigger();
                tracing::info!(signal = name, "stopping");
            }
        });
        Ok(())
    }
}

type Step = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Stages that stop one after the other, each with a deadline: intake first, storage last.
#[derive(Default)]
pub struct Sequence {
    stages: Vec<(&'static str, Duration, Step)>,
}

/// How one stage ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StageReport {
    /// The stage's name.
    pub name: &'static str,
    /// Whether it ended by itself; otherwise it was dropped at its deadline.
    pub clean: bool,
    /// How long it took.
    pub took: Duration,
}

impl Sequence {
    /// No stages.
    pub fn new() -> Sequence {
        Sequence::default()
    }

    /// Adds a stage that begins when those before it have ended.
    #[must_use]
    pub fn stage(
        mut self,
        name: &'static str,
        deadline: Duration,
        stop: impl Future<Output = ()> + Send + 'static,
    ) -> Sequence {
        self.stages.push((name, deadline, Box::pin(stop)));
        self
    }

    /// Runs the stages in order. One that exceeds its deadline is dropped, and the next begins.
    pub async fn run(self) -> Vec<StageReport> {
        let mut reports = Vec::with_capacity(self.stages.len());
        for (name, deadline, stop) in self.stages {
            let begun = Instant::now();
            let clean = tokio::time::timeout(deadline, stop).await.is_ok();
            let took = begun.elapsed();
            if clean {
                tracing::info!(stage = name, took_ms = took.as_millis() as u64, "stopped");
            } else {
                tracing::warn!(
                    stage = name,
                    deadline_ms = deadline.as_millis() as u64,
                    "not stopped in time"
                );
            }
            reports.push(StageReport { name, clean, took });
        }
        reports
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::{Arc, Mutex};

    #[tokio::test]
    async fn a_request_is_seen_before_and_after_it_is_made() {
        let shutdown = Shutdown::new();
        assert!(!shutdown.is_requested());
        let waiter = tokio::spawn({
            let shutdown = shutdown.clone();
            async move { shutdown.requested().await }
        });
        shutdown.trigger();
        waiter.await.unwrap();
        shutdown.requested().await;
        assert!(shutdown.is_requested());
    }

    #[tokio::test(start_paused = true)]
    async fn stages_end_in_order_and_a_stuck_one_does_not_hold_the_rest() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let note = |name: &'static str| {
            let seen = seen.clone();
            async move { seen.lock().unwrap().push(name) }
        };
        let reports = Sequence::new()
            .stage("gateway", Duration::from_secs(1), note("gateway"))
            .stage("stuck", Duration::from_secs(1), std::future::pending())
            .stage("repo", Duration::from_secs(1), note("repo"))
            .run()
            .await;
        assert_eq!(*seen.lock().unwrap(), ["gateway", "repo"]);
        let clean: Vec<_> = reports.iter().map(|r| (r.name, r.clean)).collect();
        assert_eq!(clean, [("gateway", true), ("stuck", false), ("repo", true)]);
    }
}
