//! One task from its record to its end: turn by turn, with waits after failures, into the dead letter if it can never
//! be done.
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

/// What all attempts share.
pub(crate) struct Attempts {
    pub tools: Arc<Tools>,
    /// As many turns as may run at the same time. Its queue is fair: tasks get their turns one after the other, and
    /// one of a hundred pages costs another task a page's time at most.
    pub turns: Semaphore,
    pub producer: Producer,
    pub backoff: Backoff,
    pub metrics: TaskMetrics,
    pub shutdown: Shutdown,
}

impl Attempts {
    /// Tries until the record needs no further attempt. False when the service stops before.
    pub(crate) async fn finish(&self, record: &Record) -> bool {
        let (kind, opened) = Job::open(record, &self.tools);
        let mut job = match opened {
            Ok(job) => job,
            Err(reason) => return self.bury(kind, record, reason).await,
        };
        let mut failures = 0;
        while !self.shutdown.is_requested() {
            match self.turn(&mut job).await {
                Turn::Done => {
                    self.metrics.count(kind, "done");
                    return true;
                }
                Turn::More => failures = 0,
                Turn::Never(reason) => return self.bury(kind, record, reason).await,
                Turn::Retry(reason) => {
                    self.metrics.count(kind, "retry");
                    tracing::warn!(kind, reason, "a task failed and will be tried again");
                    failures += 1;
                    self.wait(failures).await;
                }
            }
        }
        false
    }

    async fn turn(&self, job: &mut Job) -> Turn {
        let Ok(_permit) = self.turns.acquire().await else { return Turn::Retry("the service stops".into()) };
        let mut turn = pin!(job.turn());
        // A panic is a bug that another turn may not meet; it must not end the other tasks.
        std::future::poll_fn(|cx| {
            let polled = catch_unwind(AssertUnwindSafe(|| turn.as_mut().poll(cx)));
            polled.unwrap_or_else(|_| Poll::Ready(Turn::Retry("it panicked; see the log".into())))
        })
        .await
    }

    /// Puts what can never be done into the dead letter, as often as that takes.
    async fn bury(&self, kind: &'static str, record: &Record, reason: String) -> bool {
        tracing::warn!(kind, reason, "a task can never be done; it goes to the dead letter");
        let mut failures = 0;
        while !self.shutdown.is_requested() {
            match bury(&self.producer, record, reason.clone()).await {
                Ok(()) => {
                    self.metrics.count(kind, "dead-letter");
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
