//! Load on any WebSocket server without log-in, light enough not to be the bottleneck: on most connections frames are made
//! ahead and replies counted by their length; one in `checked_every` is a whole tungstenite client that looks at contents.

pub(crate) mod broadcast;
mod content;
mod count;
pub(crate) mod echo;
pub(crate) mod visits;
mod wires;

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crate::config::Target;
use crate::error::LoadError;
use crate::swarm::Control;
pub(crate) use content::MESSAGE_BYTES_MIN;

/// The connections of a load, and how they come.
#[derive(Debug, Clone)]
pub(crate) struct Plan {
    pub(crate) target: Target,
    /// Of the upgrade.
    pub(crate) path: String,
    pub(crate) connections: usize,
    /// Of text in each message.
    pub(crate) message_bytes: usize,
    /// One connection in this many is checked by content; the first always is.
    pub(crate) checked_every: usize,
    pub(crate) connects_per_s: f64,
    pub(crate) threads: usize,
}

/// A load's threads. Dropping it ends them as they are.
#[derive(Debug)]
struct Crew<T> {
    control: Arc<Control>,
    threads: Vec<JoinHandle<T>>,
}

impl<T: Send + 'static> Crew<T> {
    /// # Errors
    /// [`LoadError::Io`]: the machine has no thread left.
    fn add(&mut self, name: String, run: impl FnOnce() -> T + Send + 'static) -> Result<(), LoadError> {
        let thread = std::thread::Builder::new().name(name).spawn(run);
        self.threads.push(thread.map_err(|source| LoadError::Io { what: "no thread", source })?);
        Ok(())
    }

    /// What each thread brings home; `Err`: a thread failed, as its own panic has said.
    fn join(mut self) -> Vec<Result<T, &'static str>> {
        let ends = self.threads.drain(..).map(JoinHandle::join);
        ends.map(|end| end.map_err(|_| "a thread of this program failed")).collect()
    }
}

impl<T> Drop for Crew<T> {
    fn drop(&mut self) {
        self.control.abandon();
        for thread in self.threads.drain(..) {
            // A panic was reported by the thread's own hook.
            let _ = thread.join();
        }
    }
}

/// Blocks until `count` of the connections are there.
///
/// # Errors
/// [`LoadError::NotReady`]: one could not be had, or not all came in time.
pub(crate) fn wait_connected(control: &Control, count: usize, patience: Duration) -> Result<(), LoadError> {
    wait_for(control, count, patience, || control.counters.snapshot().connected)
}

fn wait_for(
    control: &Control,
    count: usize,
    patience: Duration,
    so_many: impl Fn() -> u64,
) -> Result<(), LoadError> {
    let until = Instant::now() + patience;
    loop {
        let ready = so_many();
        if ready >= count as u64 {
            return Ok(());
        }
        let now = control.counters.snapshot();
        // None of these is tried again: what is measured with fewer connections is something else.
        if now.connect_failures + now.disconnects > 0 || Instant::now() >= until {
            let trouble = control.counters.trouble();
            return Err(LoadError::NotReady { ready, users: count as u64, trouble });
        }
        std::thread::sleep(Duration::from_millis(5));
    }
}

/// What went wrong in words, where it was counted at all.
fn in_words(counts: &[(u64, &str)]) -> Vec<String> {
    let wrong = counts.iter().filter(|(count, _)| *count > 0);
    wrong.map(|(count, what)| format!("{count} {what}")).collect()
}
