//! The loop that owns the consumer: takes batches, has them attempted, parks what failed, commits what is finished.
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use gochat_infra::admin::Readiness;
use gochat_infra::idgen::IdGen;
use gochat_infra::mq::{Consumer, Event, Producer, Record, TopicPartition};
use gochat_infra::rpc;
use gochat_infra::shutdown::Shutdown;
use gochat_infra::telemetry::{TROUBLE_LINE_PERIOD, Trouble};
use gochat_proto::topics;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;

use super::attempt::{Attempts, unix_ms};
use super::dead_letter;
use super::decode::{Inbound, Poison, decode};
use super::distribute::{self, Finished, ToDistribute};
use super::metrics::PipelineMetrics;
use super::parked::ParkedRecords;
use super::round::{Refusal, Reply, Round};
use crate::config::{LimitsConfig, PipelineConfig};
use crate::downstream::Downstream;
use crate::events::Events;

/// Name of the readiness condition.
const CONDITION: &str = "logic-pipeline";

/// After so many failures in a row the service says that it is not ready.
const FAILURES_NOT_READY: u32 = 3;

/// Of records that must wait.
static WAITING: Trouble = Trouble::new(TROUBLE_LINE_PERIOD);
/// Of the dead letter.
static BURIAL: Trouble = Trouble::new(TROUBLE_LINE_PERIOD);

/// What the pipeline is made of.
pub(crate) struct PipelineDeps {
    pub repo: rpc::Client,
    pub ids: IdGen,
    pub consumer: Consumer,
    pub producer: Producer,
    pub downstream: Downstream,
    pub events: Events,
    pub metrics: PipelineMetrics,
    pub readiness: Readiness,
    pub shutdown: Shutdown,
}

/// The running pipeline.
pub(crate) struct Pipeline {
    consume: JoinHandle<()>,
    distribute: JoinHandle<()>,
}

impl Pipeline {
    pub(crate) fn start(config: &PipelineConfig, limits: &LimitsConfig, deps: PipelineDeps) -> Self {
        let (to_distribute, rounds) = mpsc::channel(config.undistributed_rounds);
        let finished = Arc::new(Finished::default());
        let readiness = deps.readiness.clone();
        readiness.not_ready(CONDITION, "no partition of gochat.upstream is assigned yet");
        let distribute =
            distribute::run(rounds, deps.downstream, deps.events, finished.clone(), deps.metrics.clone());
        let consume = Consume {
            attempts: Attempts::new(config, &deps.repo, deps.ids, deps.metrics.clone()),
            parked: ParkedRecords::new(config.backoff_min_ms, config.backoff_max_ms),
            consumer: deps.consumer,
            producer: deps.producer,
            assigned: BTreeSet::new(),
            to_distribute,
            finished,
            metrics: deps.metrics,
            readiness: deps.readiness,
            shutdown: deps.shutdown,
            batch_records: config.batch_records,
            immediate_attempts: config.immediate_attempts,
            drain: Duration::from_millis(config.drain_ms),
            content_max_bytes: limits.content_max_bytes,
        };
        let distribute = tokio::spawn(distribute);
        let consume = tokio::spawn(async move {
            // Ends with the shutdown; on any other end the service must not look healthy.
            let ended = tokio::spawn(consume.run()).await;
            let reason = if ended.is_ok() { "stopped" } else { "the pipeline failed; see the log" };
            readiness.not_ready(CONDITION, reason);
        });
        Self { consume, distribute }
    }

    /// Waits for the end that the shutdown began: the batch under way is finished, and committed as far as it was
    /// distributed within `drain_ms`.
    pub(crate) async fn join(self) {
        let _ = self.consume.await;
        // What is left is late: not committed, so that the next owner does it again.
        self.distribute.abort();
        let _ = self.distribute.await;
    }
}

struct Consume {
    attempts: Attempts,
    parked: ParkedRecords,
    consumer: Consumer,
    producer: Producer,
    assigned: BTreeSet<u32>,
    to_distribute: mpsc::Sender<ToDistribute>,
    finished: Arc<Finished>,
    metrics: PipelineMetrics,
    readiness: Readiness,
    shutdown: Shutdown,
    batch_records: usize,
    immediate_attempts: u32,
    drain: Duration,
    content_max_bytes: usize,
}

/// The distributing task is gone, which only a bug can do; without it nothing may be committed.
#[derive(Debug)]
struct DistributorGone;

/// Messages that are open, and those that were refused.
type Unsettled<'a> = (Vec<&'a Inbound>, Vec<(&'a Inbound, Refusal)>);

enum Next {
    Stop,
    Commit,
    Retry,
    Event(Event),
}

impl Consume {
    async fn run(mut self) {
        loop {
            let done = match self.next().await {
                Next::Stop => break,
                Next::Commit => Ok(()),
                Next::Retry => {
                    let records = self.parked.take_due(Instant::now(), self.batch_records);
                    self.batch(records).await
                }
                Next::Event(Event::Records(records)) => {
                    let records = self.parked.queue_behind(records);
                    self.batch(records).await
                }
                Next::Event(Event::Assigned(partitions)) => {
                    self.assigned.extend(partitions.iter().map(|tp| tp.partition));
                    self.readiness.ready(CONDITION);
                    Ok(())
                }
                Next::Event(Event::Revoked(partitions)) => {
                    self.revoke(partitions.iter().map(|tp| tp.partition).collect()).await
                }
            };
            self.commit();
            if done.is_err() {
                tracing::error!("the distributing task is gone; the pipeline stops");
                return;
            }
        }
        self.flush().await;
        self.commit();
    }

    async fn next(&mut self) -> Next {
        let due = self.parked.next_due().map(tokio::time::Instant::from_std);
        let retry = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Next::Stop,
            () = self.finished.changed.notified() => Next::Commit,
            () = retry => Next::Retry,
            event = self.consumer.next() => Next::Event(event),
        }
    }

    /// Brings every record of the batch to its end, or parks it.
    async fn batch(&mut self, records: Vec<Record>) -> Result<(), DistributorGone> {
        if records.is_empty() {
            return Ok(());
        }
        self.metrics.batch_records.observe(records.len() as f64);
        self.attempts.begin_batch();
        let start = Instant::now();
        let (inbound, poisoned) = self.decode(&records);
        self.metrics.stages.observe("decode", start.elapsed());
        let mut left = self.bury(&records, poisoned).await?;
        let oldest_ms = inbound.iter().map(|item| item.message.received_at_ms).min();
        self.metrics.oldest_ms.set(oldest_ms.map_or(0, |oldest_ms| (unix_ms() - oldest_ms).max(0)));
        let mut todo = VecDeque::from([inbound.iter().collect::<Vec<&Inbound>>()]);
        while let Some(part) = todo.pop_front() {
            let (open, mut refused) = self.attempts(part).await?;
            if !open.is_empty() {
                // All that follows waits too, so that nothing overtakes an earlier message of its conversation.
                let waiting = todo.drain(..).flatten().chain(open);
                left.extend(waiting.chain(refused.into_iter().map(|(item, _)| item)).map(|item| item.record));
                break;
            }
            match refused.as_slice() {
                [] => {}
                [(item, refusal)] => {
                    let poison = Poison::refused(item, refusal.code, &refusal.reason);
                    left.extend(self.bury(&records, vec![poison]).await?);
                }
                // The halves are tried by themselves, until the one that can't be stored stands alone.
                several => {
                    let second = refused.split_off(several.len() / 2);
                    for half in [second, refused] {
                        todo.push_front(half.into_iter().map(|(item, _)| item).collect());
                    }
                }
            }
        }
        self.settle(records, left).await
    }

    /// Attempts that may follow at once. Returns what is open after them, and what the store refused for good, both
    /// in the order of their records.
    async fn attempts<'a>(&mut self, mut open: Vec<&'a Inbound>) -> Result<Unsettled<'a>, DistributorGone> {
        let mut all_refused = Vec::new();
        for _ in 0..self.immediate_attempts.max(1) {
            if open.is_empty() {
                break;
            }
            // The place of what follows the commit is reserved before it.
            let place = self.to_distribute.clone().reserve_owned().await.map_err(|_| DistributorGone)?;
            let waiting = self.to_distribute.max_capacity() - self.to_distribute.capacity();
            self.metrics.undistributed_rounds.set(waiting as i64 - 1);
            let round = self.attempts.attempt(&open).await;
            self.metrics.count(&round.outcomes, &round.retries);
            let Round { deliveries, replies, open: still_open, refused, hurt, .. } = round;
            place.send(ToDistribute::Round { deliveries, replies, commits: BTreeMap::new() });
            open = still_open;
            open.sort_unstable_by_key(|item| item.record);
            all_refused.extend(refused);
            if hurt {
                break;
            }
        }
        all_refused.sort_unstable_by_key(|(item, _)| item.record);
        Ok((open, all_refused))
    }

    fn decode(&self, records: &[Record]) -> (Vec<Inbound>, Vec<Poison>) {
        let mut inbound = Vec::with_capacity(records.len());
        let mut poisoned = Vec::new();
        for (index, record) in records.iter().enumerate() {
            match decode(index, record, self.content_max_bytes) {
                Ok(message) => inbound.push(message),
                Err(poison) => poisoned.push(*poison),
            }
        }
        (inbound, poisoned)
    }

    /// Puts what can never succeed into the dead letter and tells its sender. Returns those that the dead letter
    /// did not take: they are not finished.
    async fn bury(
        &mut self,
        records: &[Record],
        poisoned: Vec<Poison>,
    ) -> Result<Vec<usize>, DistributorGone> {
        if poisoned.is_empty() {
            return Ok(Vec::new());
        }
        let place = self.to_distribute.clone().reserve_owned().await.map_err(|_| DistributorGone)?;
        let mut left = Vec::new();
        let mut replies = Vec::new();
        let mut outcomes = BTreeMap::new();
        for poison in poisoned {
            let record = &records[poison.record];
            if let Err(error) = dead_letter::bury(&self.producer, record, &poison.reason).await {
                if let Some(left_out) = BURIAL.line(Instant::now()) {
                    tracing::warn!(%error, left_out, "the dead letter did not take a record; it waits");
                }
                left.push(poison.record);
                continue;
            }
            if let Some(left_out) = BURIAL.over() {
                tracing::info!(left_out, "the dead letter takes records again");
            }
            *outcomes.entry("dead-letter").or_default() += 1;
            if let Some((message, code)) = poison.sender {
                replies.push(Reply::rejected(&message, code, &poison.reason));
            }
        }
        self.metrics.count(&outcomes, &BTreeMap::new());
        place.send(ToDistribute::Round { deliveries: Vec::new(), replies, commits: BTreeMap::new() });
        Ok(left)
    }

    /// Parks the records in `left` (by index) and has the offsets of what is finished committed, up to the first
    /// of each partition that is not.
    async fn settle(&mut self, records: Vec<Record>, left: Vec<usize>) -> Result<(), DistributorGone> {
        let left: BTreeSet<usize> = left.into_iter().collect();
        let mut commits = BTreeMap::<u32, u64>::new();
        let mut parked = BTreeMap::<u32, Vec<Record>>::new();
        for (index, record) in records.into_iter().enumerate() {
            // Records of a partition come in the order of their offsets.
            if left.contains(&index) {
                commits.entry(record.partition).or_insert(record.offset);
                parked.entry(record.partition).or_default().push(record);
            } else if !parked.contains_key(&record.partition) {
                commits.insert(record.partition, record.offset + 1);
            }
        }
        for partition in commits.keys().filter(|partition| !parked.contains_key(partition)) {
            if self.parked.recovered(*partition) {
                self.consumer.resume(&upstream(*partition));
                if let Some(left_out) = WAITING.over() {
                    tracing::info!(partition, left_out, "records that waited are finished");
                }
            }
        }
        for (partition, records) in parked {
            self.consumer.pause(&upstream(partition));
            let waiting = records.len();
            let failures = self.parked.park(partition, records, Instant::now(), random());
            if let Some(left_out) = WAITING.line(Instant::now()) {
                tracing::warn!(partition, waiting, failures, left_out, "records wait for another attempt");
            }
        }
        self.metrics.parked_partitions.set(self.parked.len() as i64);
        if self.parked.failures() >= FAILURES_NOT_READY {
            self.readiness.not_ready(CONDITION, "messages wait because they cannot be saved; see the log");
        } else {
            self.readiness.ready(CONDITION);
        }
        let round = ToDistribute::Round { deliveries: Vec::new(), replies: Vec::new(), commits };
        self.to_distribute.send(round).await.map_err(|_| DistributorGone)
    }

    /// Somebody else owns these partitions now: what was saved is distributed, the rest is his to read again.
    async fn revoke(&mut self, partitions: Vec<u32>) -> Result<(), DistributorGone> {
        self.flush().await;
        self.commit();
        for partition in partitions {
            self.parked.forget(partition);
            self.attempts.forget_partition(partition);
            self.assigned.remove(&partition);
        }
        Ok(())
    }

    /// Waits, `drain_ms` at most, until all that was handed over is distributed.
    async fn flush(&mut self) {
        let flushed = async {
            let (done, flushed) = oneshot::channel();
            if self.to_distribute.send(ToDistribute::Flush(done)).await.is_ok() {
                let _ = flushed.await;
            }
        };
        if tokio::time::timeout(self.drain, flushed).await.is_err() {
            tracing::warn!("distribution is late; what it left is not committed and will be done again");
        }
    }

    fn commit(&mut self) {
        let finished = self.finished.take();
        if finished.is_empty() {
            return;
        }
        for (partition, next_offset) in finished {
            // A late one, after a revoke, is the new owner's affair.
            if self.assigned.contains(&partition) {
                self.consumer.commit(&upstream(partition), next_offset);
            }
        }
        let lag = self.consumer.lag();
        self.metrics.lag.set(lag as i64);
        if lag == 0 {
            self.metrics.oldest_ms.set(0);
        }
    }
}

fn upstream(partition: u32) -> TopicPartition {
    TopicPartition { topic: topics::UPSTREAM, partition }
}

/// 0..1, to spread retries of several instances.
fn random() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX)
}
