//! One task from its record to its end: turn by turn, with waits after failures, into the dead letter if it can never
//! be done.
use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use gochat_infra::mq::{Producer, Record};
use gochat_infra::shutdown::Shutdown;
use tokio::sync::Semaphore;

use crate::backoff::{Backoff, random};
use crate::dead_letter::bury;
use crate::jobs::{Job, Tools, Turn};
use crate::metrics::TaskMetrics;

/// The job of a record, and the name of its type; an error says why it can never be done. [`Job::open`], but in tests.
pub(crate) type Open = Arc<dyn Fn(&Record, &Arc<Tools>) -> (&'static str, Result<Job, String>) + Send + Sync>;

/// What all attempts share.
pub(crate) struct Attempts {
    pub tools: Arc<Tools>,
    pub open: Open,
    /// As many turns as may run at the same time. Its queue is fair: tasks get their turns one after the other, and
    /// one of a hundred pages costs another task a page's time at most.
    pub turns: Semaphore,
    /// Panics of one task without progress after which it goes to the dead letter.
    pub panics_max: u32,
    pub producer: Producer,
    pub backoff: Backoff,
    pub metrics: TaskMetrics,
    pub shutdown: Shutdown,
}

/// A task under way.
struct Task<'a> {
    record: &'a Record,
    kind: &'static str,
    /// None before the first turn, and after a panic: what it left half done is not trusted.
    job: Option<Job>,
}

/// What became of a turn, seen from outside.
enum Ended {
    Turn(Turn),
    /// The record is no task of ours, and why.
    Malformed(String),
    Panicked(String),
    Stopping,
}

impl Attempts {
    /// Tries until the record needs no further attempt. False when the service stops before.
    pub(crate) async fn finish(&self, record: &Record) -> bool {
        let mut task = Task { record, kind: "unknown", job: None };
        let (mut failures, mut panics) = (0, 0);
        while !self.shutdown.is_requested() {
            let (outcome, reason) = match self.turn(&mut task).await {
                Ended::Turn(Turn::Done) => {
                    self.metrics.count(task.kind, "done");
                    return true;
                }
                Ended::Turn(Turn::More) => {
                    (failures, panics) = (0, 0);
                    continue;
                }
                Ended::Turn(Turn::Never(reason)) => {
                    return self.bury(task.kind, record, "refused", reason).await;
                }
                Ended::Malformed(reason) => return self.bury(task.kind, record, "malformed", reason).await,
                Ended::Turn(Turn::Retry(reason)) => ("retry", reason),
                Ended::Panicked(reason) => {
                    panics += 1;
                    ("panic", reason)
                }
                Ended::Stopping => return false,
            };
            self.metrics.count(task.kind, outcome);
            if panics >= self.panics_max {
                let reason = format!("it panicked {panics} times, at last with: {reason}");
                return self.bury(task.kind, record, "panicked", reason).await;
            }
            tracing::warn!(kind = task.kind, outcome, reason, "a task failed and will be tried again");
            failures += 1;
            self.wait(failures).await;
        }
        false
    }

    /// A panic is a bug that this task meets, here or in what it is made of; it must not end the other tasks.
    async fn turn(&self, task: &mut Task<'_>) -> Ended {
        let Ok(_permit) = self.turns.acquire().await else { return Ended::Stopping };
        let ended = {
            let mut turn = pin!(self.unguarded_turn(task));
            std::future::poll_fn(|cx| {
                let polled = catch_unwind(AssertUnwindSafe(|| turn.as_mut().poll(cx)));
                polled.unwrap_or_else(|panic| Poll::Ready(Ended::Panicked(text_of(&*panic))))
            })
            .await
        };
        if let Ended::Panicked(_) = ended {
            task.job = None;
        }
        ended
    }

    async fn unguarded_turn(&self, task: &mut Task<'_>) -> Ended {
        let job = match &mut task.job {
            Some(job) => job,
            None => {
                let (kind, opened) = (self.open)(task.record, &self.tools);
                task.kind = kind;
                match opened {
                    Ok(job) => task.job.insert(job),
                    Err(reason) => return Ended::Malformed(reason),
                }
            }
        };
        Ended::Turn(job.turn().await)
    }

    /// Puts what can never be done into the dead letter, as often as that takes.
    async fn bury(&self, kind: &'static str, record: &Record, cause: &'static str, reason: String) -> bool {
        tracing::warn!(kind, cause, reason, "a task can never be done; it goes to the dead letter");
        let mut failures = 0;
        while !self.shutdown.is_requested() {
            match bury(&self.producer, record, &reason).await {
                Ok(()) => {
                    self.metrics.count(kind, "dead-letter");
                    self.metrics.count_dead_letter(kind, cause);
                    return true;
                }
                Err(error) => {
                    self.metrics.count(kind, "retry");
                    tracing::warn!(%error, "the dead letter did not take a task; it waits");
                    failures += 1;
                    self.wait(failures).await;
                }
            }
        }
        false
    }

    async fn wait(&self, failures: u32) {
        self.metrics.waiting_tasks.inc();
        tokio::select! {
            () = self.shutdown.requested() => {}
            () = tokio::time::sleep(self.backoff.wait(failures, random())) => {}
        }
        self.metrics.waiting_tasks.dec();
    }
}

/// What a panic said, cut: it may hold anything.
fn text_of(panic: &(dyn Any + Send)) -> String {
    const CHARS_MAX: usize = 500;
    let text = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
    text.unwrap_or("no words").chars().take(CHARS_MAX).collect()
}
