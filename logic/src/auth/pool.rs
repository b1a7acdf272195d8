//! Threads that only hash passwords, behind a bounded queue: a rush of logins waits here, and messages do not.
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TrySendError, sync_channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use gochat_infra::errors::{Code, Error};
use tokio::sync::oneshot;

use super::metrics::AuthMetrics;

type Job = Box<dyn FnOnce() + Send>;

/// Shortest and longest advice for a retry.
const RETRY_MIN_MS: u64 = 500;
const RETRY_MAX_MS: u64 = 30_000;

/// The pool. Its threads end, and are joined, when it is dropped; what waits in the queue is done first.
pub(crate) struct HashPool {
    jobs: Option<SyncSender<Job>>,
    threads: Vec<JoinHandle<()>>,
    shared: Arc<Shared>,
}

struct Shared {
    /// Waiting or at work.
    pending: AtomicU64,
    /// Moving average of what one job takes.
    job_us: AtomicU64,
    metrics: AuthMetrics,
}

impl HashPool {
    /// `queue` jobs may wait; `threads` and `queue` are at least 1.
    pub(crate) fn start(threads: usize, queue: usize, metrics: AuthMetrics) -> std::io::Result<Self> {
        let (jobs, waiting) = sync_channel::<Job>(queue);
        let waiting = Arc::new(Mutex::new(waiting));
        let shared = Arc::new(Shared { pending: AtomicU64::new(0), job_us: AtomicU64::new(0), metrics });
        let threads = (0..threads)
            .map(|n| {
                let (waiting, shared) = (waiting.clone(), shared.clone());
                std::thread::Builder::new().name(format!("argon2-{n}")).spawn(move || work(&waiting, &shared))
            })
            .collect::<std::io::Result<Vec<_>>>()?;
        Ok(Self { jobs: Some(jobs), threads, shared })
    }

    /// Runs `job` on the pool. Fails at once with 1013 and a time to retry when the queue is full.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Error> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move || {
            // A caller that went away needs no hash; his place in the queue is free again at once.
            if !answer.is_closed() {
                let _ = answer.send(job());
            }
        });
        self.shared.pending.fetch_add(1, Ordering::Relaxed);
        self.shared.metrics.argon2_pending.inc();
        let sent = self.jobs.as_ref().map(|jobs| jobs.try_send(job));
        if !matches!(sent, Some(Ok(()))) {
            self.shared.finished();
            if matches!(sent, Some(Err(TrySendError::Full(_)))) {
                self.shared.metrics.argon2_refused.inc();
            }
            return Err(self.overloaded());
        }
        answered.await.map_err(|_| Error::new(Code::Internal, "The password could not be checked."))
    }

    fn overloaded(&self) -> Error {
        let queued = self.shared.pending.load(Ordering::Relaxed);
        let one_us = self.shared.job_us.load(Ordering::Relaxed);
        let wait_ms = queued * one_us / 1000 / self.threads.len().max(1) as u64;
        Error::new(
            Code::Overloaded,
            "Too many people are signing in at this moment; please try again shortly.",
        )
        .retry_after_ms(wait_ms.clamp(RETRY_MIN_MS, RETRY_MAX_MS))
    }
}

impl Drop for HashPool {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

impl Shared {
    fn finished(&self) {
        self.pending.fetch_sub(1, Ordering::Relaxed);
        self.metrics.argon2_pending.dec();
    }
}

fn work(waiting: &Mutex<Receiver<Job>>, shared: &Shared) {
    loop {
        let job = waiting.lock().unwrap_or_else(PoisonError::into_inner).recv();
        let Ok(job) = job else { return };
        let start = Instant::now();
        // A panic costs the one caller, whose channel closes, and not the thread.
        let _ = std::panic::catch_unwind(std::panic::AssertUnwindSafe(job));
        let took_us = start.elapsed().as_micros() as u64;
        let before = shared.job_us.load(Ordering::Relaxed);
        let average = if before == 0 { took_us } else { (before * 7 + took_us) / 8 };
        shared.job_us.store(average, Ordering::Relaxed);
        shared.finished();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::{channel, sync_channel};

    use prometheus_client::registry::Registry;

    use super::*;

    #[tokio::test]
    async fn one_more_than_may_wait_is_refused_with_a_time() {
        let metrics = AuthMetrics::register(&mut Registry::default());
        let pool = Arc::new(HashPool::start(1, 2, metrics.clone()).unwrap());
        let (begun, begins) = channel();
        let (open, door) = sync_channel::<()>(0);
        let job = move || {
            begun.send(()).unwrap();
            door.recv().unwrap();
        };
        let run = |job: Box<dyn FnOnce() + Send>| {
            let pool = pool.clone();
            tokio::spawn(async move { pool.run(job).await })
        };
        let at_work = run(Box::new(job));
        while begins.try_recv().is_err() {
            tokio::task::yield_now().await;
        }
        // Two wait behind the one at work.
        let waiting = [run(Box::new(|| {})), run(Box::new(|| {}))];
        while metrics.argon2_pending.get() < 3 {
            tokio::task::yield_now().await;
        }
        let refused = pool.run(|| {}).await.unwrap_err();
        assert_eq!(refused.code, Code::Overloaded);
        assert!(refused.retry_after_ms.is_some_and(|ms| (RETRY_MIN_MS..=RETRY_MAX_MS).contains(&ms)));
        assert_eq!((metrics.argon2_refused.get(), metrics.argon2_pending.get()), (1, 3));
        open.send(()).unwrap();
        for done in [at_work].into_iter().chain(waiting) {
            done.await.unwrap().unwrap();
        }
        pool.run(|| {}).await.unwrap();
        assert_eq!(metrics.argon2_refused.get(), 1);
    }

    #[tokio::test]
    async fn a_panic_costs_its_caller_and_not_the_thread() {
        let metrics = AuthMetrics::register(&mut Registry::default());
        let pool = HashPool::start(1, 2, metrics.clone()).unwrap();
        let lost = pool.run(|| panic!("of a test")).await.unwrap_err();
        assert_eq!(lost.code, Code::Internal);
        assert_eq!(pool.run(|| 7).await.unwrap(), 7);
    }
}
