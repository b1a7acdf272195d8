//! The one writer: a bounded queue, and a task that puts what waits in it into one transaction, since each
//! commit is an fsync.
//!
//! A group is saved whole or not at all; when it fails, each of its writes is tried alone, so that one bad
//! write can't fail its neighbours. A write is answered only after its commit.
//!
//! After a failure the connection is opened anew: SQLite takes a transaction back by itself when the disk is
//! full, and a connection that was told so in the middle of one is of no use any more.
use std::future::Future;
use std::ops::ControlFlow;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use gochat_infra::errors::{Code, Error};
use gochat_infra::mq::FatalHandler;
use gochat_infra::telemetry::{TROUBLE_LINE_PERIOD, Trouble};
use gochat_proto::repo::v1::{ConversationBatch, MarkReadResponse, SaveOutcome};
use sqlx::sqlite::{SqliteConnectOptions, SqliteConnection};
use sqlx::{ConnectOptions as _, Connection as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, oneshot};
use tokio::task::JoinHandle;

use super::{conversations, disk, save};
use crate::config::SqliteConfig;
use crate::metrics::{Refused, RepoMetrics};
use crate::store::message_key::KeyHash;
use crate::store::{ReadMark, Result, refuse};

/// A write other than saving messages and moving read pointers. It runs in a savepoint of the group's
/// transaction: when it fails, nothing of it stays.
pub(super) trait Change: Send + Sync + 'static {
    type Out: Send + 'static;

    fn apply(&self, conn: &mut SqliteConnection) -> impl Future<Output = Result<Self::Out>> + Send;
}

/// What a save hands back: its batches, so that the caller can fill caches from them, and their outcomes.
pub(crate) type Saved = (Vec<ConversationBatch>, Vec<SaveOutcome>);

/// The handle of the writing task.
pub(super) struct Writer {
    queue: Mutex<Option<mpsc::Sender<Queued>>>,
    /// One permit for each KiB that may wait or be under way.
    room: Arc<Semaphore>,
    room_kib: u32,
    retry_after_ms: u64,
    task: Mutex<Option<JoinHandle<Option<SqliteConnection>>>>,
    metrics: RepoMetrics,
    #[cfg(test)]
    pub(super) faults: Arc<faults::Faults>,
}

struct Queued {
    job: Job,
    place: Place,
}

/// What a write takes of the queue's room, from its admission until it is answered.
struct Place {
    _room: OwnedSemaphorePermit,
    bytes: usize,
    since: Instant,
    metrics: RepoMetrics,
}

impl Place {
    fn taken(room: OwnedSemaphorePermit, bytes: usize, metrics: &RepoMetrics) -> Self {
        metrics.write_admitted(bytes);
        Self { _room: room, bytes, since: Instant::now(), metrics: metrics.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.metrics.write_left(self.bytes);
    }
}

enum Job {
    Save(SaveJob),
    Read(ReadJob),
    Change(Box<dyn AnyChange>),
}

struct SaveJob {
    batches: Vec<ConversationBatch>,
    outcomes: Vec<SaveOutcome>,
    reply: oneshot::Sender<Result<Saved>>,
}

struct ReadJob {
    mark: ReadMark,
    outcome: Option<MarkReadResponse>,
    reply: oneshot::Sender<Result<MarkReadResponse>>,
}

impl Writer {
    pub(super) fn start(
        conn: SqliteConnection,
        options: SqliteConnectOptions,
        config: &SqliteConfig,
        key_hash: KeyHash,
        metrics: &RepoMetrics,
    ) -> Self {
        let (sender, receiver) = mpsc::channel(config.write_queue_jobs.max(1));
        let room_kib = (config.write_queue_bytes / 1024).max(1);
        #[cfg(test)]
        let faults = Arc::new(faults::Faults::default());
        let task = WriterTask {
            conn: Some(conn),
            options,
            key_hash,
            group_jobs: config.write_group_jobs.max(1),
            commits: 0,
            trouble: Trouble::new(TROUBLE_LINE_PERIOD),
            on_fatal: config.on_fatal.clone(),
            fault_fsync_at: config.fault_fsync_at,
            metrics: metrics.clone(),
            #[cfg(test)]
            faults: faults.clone(),
        };
        Self {
            queue: Mutex::new(Some(sender)),
            room: Arc::new(Semaphore::new(room_kib as usize)),
            room_kib,
            retry_after_ms: config.retry_after_ms,
            task: Mutex::new(Some(tokio::spawn(task.run(receiver)))),
            metrics: metrics.clone(),
            #[cfg(test)]
            faults,
        }
    }

    pub(super) async fn save(&self, batches: Vec<ConversationBatch>) -> Result<Saved> {
        let bytes = batches.iter().map(prost::Message::encoded_len).sum();
        let (reply, answer) = oneshot::channel();
        self.admit(Job::Save(SaveJob { batches, outcomes: Vec::new(), reply }), bytes)?;
        answer.await.map_err(|_| stopped())?
    }

    pub(super) async fn mark_read(&self, mark: ReadMark) -> Result<MarkReadResponse> {
        let (reply, answer) = oneshot::channel();
        self.admit(Job::Read(ReadJob { mark, outcome: None, reply }), 128)?;
        answer.await.map_err(|_| stopped())?
    }

    /// `bytes` is what the change holds in memory, roughly.
    pub(super) async fn change<C: Change>(&self, change: C, bytes: usize) -> Result<C::Out> {
        let (reply, answer) = oneshot::channel();
        self.admit(Job::Change(Box::new(PendingChange { change, out: None, reply })), bytes)?;
        answer.await.map_err(|_| stopped())?
    }

    fn admit(&self, job: Job, bytes: usize) -> Result<()> {
        let kib = u32::try_from(bytes / 1024 + 1).unwrap_or(u32::MAX).min(self.room_kib);
        let Ok(room) = self.room.clone().try_acquire_many_owned(kib) else {
            return Err(self.full(Refused::QueueBytes));
        };
        let queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(sender) = queue.as_ref() else { return Err(stopped()) };
        match sender.try_send(Queued { job, place: Place::taken(room, bytes, &self.metrics) }) {
            Ok(()) => Ok(()),
            Err(mpsc::error::TrySendError::Full(_)) => Err(self.full(Refused::QueueJobs)),
            Err(mpsc::error::TrySendError::Closed(_)) => Err(stopped()),
        }
    }

    fn full(&self, reason: Refused) -> Error {
        self.metrics.write_refused(reason);
        Error::new(Code::Overloaded, "too many writes are waiting for the database")
            .retry_after_ms(self.retry_after_ms)
    }

    /// Admits no more and waits until what was admitted is written. Hands back the connection, unless the
    /// last write failed or this was called before.
    pub(super) async fn close(&self) -> Option<SqliteConnection> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner).take();
        let task = self.task.lock().unwrap_or_else(PoisonError::into_inner).take();
        let ended = task?.await;
        ended.inspect_err(|error| tracing::error!(%error, "the writer of the database ended badly")).ok()?
    }
}

fn stopped() -> Error {
    Error::new(Code::Unavailable, "the database is being closed")
}

struct WriterTask {
    /// None after a failure, until the next write.
    conn: Option<SqliteConnection>,
    options: SqliteConnectOptions,
    key_hash: KeyHash,
    group_jobs: usize,
    /// Since opening.
    commits: u64,
    trouble: Trouble,
    on_fatal: FatalHandler,
    fault_fsync_at: u64,
    metrics: RepoMetrics,
    #[cfg(test)]
    faults: Arc<faults::Faults>,
}

impl WriterTask {
    /// Hands back the connection when nothing more will come; None after a failure.
    async fn run(mut self, mut queue: mpsc::Receiver<Queued>) -> Option<SqliteConnection> {
        let mut group = Vec::with_capacity(self.group_jobs);
        while queue.recv_many(&mut group, self.group_jobs).await > 0 {
            group.iter().for_each(|queued| self.metrics.write_waited(queued.place.since.elapsed()));
            if Box::pin(self.write(&mut group)).await.is_break() {
                // Only when the fatal handler came back. Who waits in the queue is told that it has ended.
                return None;
            }
        }
        self.conn
    }

    /// Writes a group and answers each of its callers. Breaks when nothing may be written any more.
    async fn write(&mut self, group: &mut Vec<Queued>) -> ControlFlow<()> {
        let Err(failure) = self.attempt(group).await else {
            group.drain(..).for_each(|queued| queued.job.committed());
            return ControlFlow::Continue(());
        };
        if group.len() == 1 || disk::disk_failed(&failure) || disk::sync_failed(&failure) {
            let goes_on = self.judge(&failure);
            group.drain(..).for_each(|queued| queued.job.failed(failure.clone()));
            return goes_on;
        }
        for mut queued in group.drain(..) {
            match self.attempt(std::slice::from_mut(&mut queued)).await {
                Ok(()) => queued.job.committed(),
                Err(failure) => {
                    self.judge(&failure)?;
                    queued.job.failed(failure);
                }
            }
        }
        ControlFlow::Continue(())
    }

    /// Ends the process when the failure is one after which nothing can be relied on.
    fn judge(&self, failure: &Error) -> ControlFlow<()> {
        if !disk::sync_failed(failure) {
            return ControlFlow::Continue(());
        }
        let file = self.options.get_filename();
        (self.on_fatal.0)(&format!("fsync of {}-wal: {}", file.display(), disk::cause(failure)));
        ControlFlow::Break(())
    }

    /// One transaction, counted; after a failure the connection is given up.
    async fn attempt(&mut self, group: &mut [Queued]) -> Result<()> {
        let done = self.transaction(group).await;
        match &done {
            Ok(()) => {
                self.metrics.committed(group.len());
                if let Some(left_out) = self.trouble.over() {
                    tracing::info!(left_out, "the database can be written again");
                }
            }
            Err(failure) => {
                self.metrics.write_failed();
                if let Some(left_out) = self.trouble.line(Instant::now()) {
                    let (cause, writes) = (disk::cause(failure), group.len());
                    tracing::error!(cause, writes, left_out, "a write to the database failed");
                }
                if let Some(conn) = self.conn.take() {
                    // It failed already; how it ends says nothing new.
                    drop(conn.close().await);
                }
            }
        }
        done
    }

    async fn transaction(&mut self, group: &mut [Queued]) -> Result<()> {
        let conn = match &mut self.conn {
            Some(conn) => conn,
            none => none.insert(self.options.connect().await.map_err(refuse::database)?),
        };
        let mut tx = conn.begin_with("BEGIN IMMEDIATE").await.map_err(refuse::database)?;
        let mut saves: Vec<&mut SaveJob> = Vec::new();
        let mut reads: Vec<&mut ReadJob> = Vec::new();
        let mut changes: Vec<&mut Box<dyn AnyChange>> = Vec::new();
        for queued in group {
            match &mut queued.job {
                Job::Save(job) => saves.push(job),
                Job::Read(job) => reads.push(job),
                Job::Change(job) => changes.push(job),
            }
        }
        if !saves.is_empty() {
            let requests: Vec<&[ConversationBatch]> = saves.iter().map(|job| &job.batches[..]).collect();
            let outcomes = save::save(&mut tx, self.key_hash, &requests).await?;
            saves.iter_mut().zip(outcomes).for_each(|(job, outcomes)| job.outcomes = outcomes);
        }
        if !reads.is_empty() {
            let marks: Vec<&ReadMark> = reads.iter().map(|job| &job.mark).collect();
            let outcomes = conversations::mark_read(&mut tx, &marks).await?;
            reads.iter_mut().zip(outcomes).for_each(|(job, outcome)| job.outcome = outcome);
        }
        for change in changes {
            let mut savepoint = tx.begin().await.map_err(refuse::database)?;
            match change.apply(&mut savepoint).await {
                true => savepoint.commit().await,
                false => savepoint.rollback().await,
            }
            .map_err(refuse::database)?;
        }
        #[cfg(test)]
        self.faults.before_commit()?;
        tx.commit().await.map_err(refuse::database)?;
        self.commits += 1;
        match self.commits == self.fault_fsync_at {
            true => Err(disk::injected_sync_failure()),
            false => Ok(()),
        }
    }
}

impl Job {
    fn committed(self) {
        // A caller that has gone away needs no answer.
        match self {
            Self::Save(job) => drop(job.reply.send(Ok((job.batches, job.outcomes)))),
            Self::Read(job) => drop(job.reply.send(job.outcome.ok_or_else(refuse::unknown_conversation))),
            Self::Change(job) => job.finish(Ok(())),
        }
    }

    fn failed(self, error: Error) {
        match self {
            Self::Save(job) => drop(job.reply.send(Err(error))),
            Self::Read(job) => drop(job.reply.send(Err(error))),
            Self::Change(job) => job.finish(Err(error)),
        }
    }
}

/// A `Change` of any kind, with its caller.
trait AnyChange: Send {
    /// Whether it succeeded, so that its savepoint is kept.
    fn apply<'a>(
        &'a mut self,
        conn: &'a mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>>;

    fn finish(self: Box<Self>, transaction: Result<()>);
}

struct PendingChange<C: Change> {
    change: C,
    out: Option<Result<C::Out>>,
    reply: oneshot::Sender<Result<C::Out>>,
}

impl<C: Change> AnyChange for PendingChange<C> {
    fn apply<'a>(
        &'a mut self,
        conn: &'a mut SqliteConnection,
    ) -> Pin<Box<dyn Future<Output = bool> + Send + 'a>> {
        Box::pin(async {
            let out = self.change.apply(conn).await;
            let succeeded = out.is_ok();
            self.out = Some(out);
            succeeded
        })
    }

    fn finish(self: Box<Self>, transaction: Result<()>) {
        let Self { out, reply, .. } = *self;
        drop(reply.send(transaction.and_then(|()| out.unwrap_or_else(|| Err(stopped())))));
    }
}

/// Failures that tests put into the writer.
#[cfg(test)]
pub(crate) mod faults {
    use std::sync::atomic::{AtomicU32, Ordering};

    use crate::store::{Result, refuse};

    #[derive(Default)]
    pub(crate) struct Faults {
        commits_to_fail: AtomicU32,
    }

    impl Faults {
        /// The next so many transactions fail when all their statements are done.
        pub(crate) fn fail_commits(&self, count: u32) {
            self.commits_to_fail.store(count, Ordering::SeqCst);
        }

        pub(super) fn before_commit(&self) -> Result<()> {
            let failing = self
                .commits_to_fail
                .fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1))
                .is_ok();
            match failing {
                true => Err(refuse::database(sqlx::Error::Io(std::io::Error::other("injected")))),
                false => Ok(()),
            }
        }
    }
}
