//! The queue as a whole: its topics, its groups, opening and closing.

use std::collections::HashMap;
use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::sync::Notify;

use super::consumer::{Consumer, Group};
use super::counts::Counts;
use super::keeper::{Keeper, Signal};
use super::log::{Keep, Log, Older, Slot, Wanted, guarded, snapshot};
use super::partition::{Backlog, Found, MemoryBound, Partition, Room};
use super::producer::Producer;
use super::tail::Tail;
use super::{
    ConsumerConfig, EmbeddedConfig, QueueError, Record, Retention, TopicConfig, TopicPartition, offsets,
};
use crate::telemetry::Metrics;

/// The embedded queue. Clones share it; when the last clone, producer, consumer and tail is gone it closes itself.
#[derive(Debug, Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: EmbeddedConfig,
    pub(super) topics: Vec<Topic>,
    pub(super) closed: AtomicBool,
    pub(super) counts: Arc<Counts>,
    pub(super) signal: Arc<Signal>,
    logs: Vec<Arc<Log>>,
    groups: Mutex<HashMap<Arc<str>, Arc<Group>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    /// Held as long as the folder is ours.
    _lock: Option<File>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) partitions: Vec<Arc<Partition>>,
    /// The log of a durable topic, and its slot there of partition 0.
    pub(super) log: Option<(Arc<Log>, u32)>,
    /// Takes records without a key to each partition in turn.
    pub(super) turn: AtomicU32,
    gate: Arc<AtomicBool>,
}

impl Shared {
    /// There are few topics: comparing names is quicker than hashing them.
    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// A partition, and the log that holds its older records.
    fn partition(
        &self,
        topic: &str,
        partition: u32,
    ) -> Result<(Arc<Partition>, Option<Arc<Log>>), QueueError> {
        let unknown = || QueueError::UnknownTopic(topic.to_owned());
        let found = self.topic(topic).ok_or_else(unknown)?;
        let partition = found.partitions.get(partition as usize).ok_or_else(unknown)?;
        Ok((partition.clone(), found.log.as_ref().map(|(log, _)| log.clone())))
    }

    /// Writes what the logs and the groups hold at this moment.
    fn copy_into(&self, dir: &Path) -> Result<u64, QueueError> {
        let durable = self.topics.iter().filter(|topic| topic.log.is_some());
        let partitions: Vec<Arc<Partition>> =
            durable.flat_map(|topic| topic.partitions.iter().cloned()).collect();
        if partitions.is_empty() {
            return Ok(0);
        }
        let (snapshots, commits) = snapshot(&self.logs, || offsets::collect(&partitions));
        let mut bytes = 0;
        for snapshot in snapshots {
            bytes += snapshot.write_to(dir)?;
        }
        let io = |what, path: PathBuf| move |source| QueueError::Io { what, path, source };
        let path = dir.join(COMMITS);
        offsets::write(&path, &commits).map_err(io("writing", path))?;
        let path = dir.join(TOPICS);
        offsets::copy(&self.config.dir.join(TOPICS), &path).map_err(io("writing", path))?;
        Ok(bytes)
    }

    pub(super) fn logs(&self) -> &[Arc<Log>] {
        &self.logs
    }

    fn groups(&self) -> MutexGuard<'_, HashMap<Arc<str>, Arc<Group>>> {
        self.groups.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What each group has not committed of each topic.
    pub(super) fn backlogs(&self) -> Vec<(Arc<str>, &'static str, Backlog)> {
        let mut all: HashMap<(Arc<str>, &'static str), Backlog> = HashMap::new();
        for partition in self.topics.iter().flat_map(|topic| &topic.partitions) {
            for (group, backlog) in partition.backlogs() {
                let sum = all.entry((group, partition.tp.topic)).or_default();
                sum.records += backlog.records;
                sum.since_unix_ms = sum.since_unix_ms.into_iter().chain(backlog.since_unix_ms).min();
            }
        }
        all.into_iter().map(|((group, topic), backlog)| (group, topic, backlog)).collect()
    }

    /// Durable topics, and whether they are refused.
    pub(super) fn gates(&self) -> impl Iterator<Item = (&'static str, bool)> {
        let durable = self.topics.iter().filter(|topic| topic.log.is_some());
        durable.map(|topic| (topic.name, topic.gate.load(Ordering::Relaxed)))
    }

    fn close(&self) {
        self.closed.store(true, Ordering::Release);
        for log in &self.logs {
            log.close();
        }
        for group in self.groups().values() {
            group.end();
        }
        self.signal.close();
        let keeper = self.keeper.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            // A panic was reported where it happened.
            let _ = keeper.join();
        }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.close();
    }
}

impl Queue {
    /// Opens the queue in its folder: reads and checks the whole log, and cuts off a write that was never completed.
    ///
    /// # Errors
    /// When the folder can't be used, is used by another process, or is damaged; or when the configuration
    /// contradicts itself or what is in the log.
    pub fn open_embedded(config: EmbeddedConfig) -> Result<Queue, QueueError> {
        check(&config)?;
        let mut topics: Vec<Topic> = config.topics.iter().map(|topic| make_topic(topic, &config)).collect();
        let counts = Arc::new(Counts::default());
        let signal = Arc::new(Signal::default());
        let durable: Vec<usize> = (0..topics.len()).filter(|i| config.topics[*i].durable).collect();
        let mut shared = Shared {
            topics: Vec::new(),
            closed: AtomicBool::new(false),
            counts: counts.clone(),
            signal: signal.clone(),
            logs: Vec::new(),
            groups: Mutex::default(),
            keeper: Mutex::new(None),
            _lock: None,
            config,
        };
        if !durable.is_empty() {
            let config = &shared.config;
            shared._lock = Some(lock_dir(config)?);
            let settings: Vec<&TopicConfig> = durable.iter().map(|i| &config.topics[*i]).collect();
            let numbers = offsets::number_topics(&config.dir.join(TOPICS), &settings)?;
            let numbered: Vec<(usize, u16)> = durable.iter().copied().zip(numbers).collect();
            for (name, keep) in kinds(&settings) {
                let (mut slots, mut members) = (Vec::new(), Vec::new());
                for (index, number) in &numbered {
                    if matches!(config.topics[*index].retention, Retention::Kept { .. }) == (name == KEPT) {
                        members.push((*index, slots.len() as u32));
                        let topic = &topics[*index];
                        let slot = |partition: &Arc<Partition>| {
                            Slot::new(*number, partition.clone(), topic.gate.clone())
                        };
                        slots.extend(topic.partitions.iter().map(slot));
                    }
                }
                let log = Log::open(name, keep, slots, config, counts.clone(), signal.clone())?;
                shared.logs.push(log.clone());
                for (index, first) in members {
                    topics[index].log = Some((log.clone(), first));
                }
            }
            let keeper = start_keeper(config, &topics, shared.logs.clone(), signal, counts)?;
            shared.keeper = Mutex::new(Some(keeper));
        }
        shared.topics = topics;
        Ok(Queue { shared: Arc::new(shared) })
    }

    /// Registers the queue's metrics, all named `mq_…`.
    pub fn register_metrics(&self, metrics: &Metrics) {
        metrics.with("mq", |registry| self.shared.counts.register(registry, &self.shared));
    }

    /// A way to send.
    pub fn producer(&self) -> Producer {
        Producer::new(self.shared.clone())
    }

    /// The consumer of a group, which begins where the group has committed, or at the oldest record. One is
    /// in force at a time: the one before gets `Revoked` and nothing more, and its commits are ignored.
    ///
    /// # Errors
    /// For an unknown topic.
    pub fn consumer(
        &self,
        group: &str,
        topics: &[&str],
        config: ConsumerConfig,
    ) -> Result<Consumer, QueueError> {
        let mut found = Vec::with_capacity(topics.len());
        for name in topics {
            let topic = self.shared.topic(name);
            found.push(topic.ok_or_else(|| QueueError::UnknownTopic((*name).to_owned()))?);
        }
        let mut groups = self.shared.groups();
        let group = groups.entry(group.into()).or_insert_with(|| Arc::new(Group::new(group))).clone();
        drop(groups);
        Ok(Consumer::new(self.shared.clone(), group, &found, config))
    }

    /// Follows one partition from its present end, outside of any group.
    ///
    /// # Errors
    /// For an unknown topic or partition.
    pub fn tail(&self, topic: &str, partition: u32) -> Result<Tail, QueueError> {
        let (partition, log) = self.shared.partition(topic, partition)?;
        Ok(Tail::new(self.shared.clone(), partition, log))
    }

    /// Records of a partition from an offset on, without a group: for people who look at a topic. What is deleted is
    /// left out, so the first one may have a higher offset; none means that there is nothing from there on yet. At least
    /// one is returned where there is one, at most `max_records` and `max_bytes` of keys and values.
    ///
    /// # Errors
    /// For an unknown topic or partition, and when the files can't be read.
    pub async fn read(
        &self,
        topic: &str,
        partition: u32,
        from_offset: u64,
        max_records: usize,
        max_bytes: usize,
    ) -> Result<Vec<Record>, QueueError> {
        let (partition, log) = self.shared.partition(topic, partition)?;
        let mut position = from_offset;
        loop {
            let mut room = Room { records: max_records.max(1), bytes: max_bytes };
            let mut records = Vec::new();
            let oldest = match partition.read(position, &mut room, &mut records) {
                Found::Older(oldest) => oldest,
                Found::Records(_) | Found::Nothing | Found::Full => return Ok(records),
            };
            let Some(log) = log.clone() else {
                position = oldest;
                continue;
            };
            let wanted = Wanted {
                partition: partition.clone(),
                position,
                max_records: room.records,
                max_bytes: room.bytes,
            };
            let read = tokio::task::spawn_blocking(move || log.read_older(&wanted)).await;
            match read.unwrap_or_else(|error| Err(read_ended(error)))? {
                Older::Records(records) => return Ok(records),
                Older::Deleted(oldest) => position = oldest,
            }
        }
    }

    /// Copies the durable topics and the commits into a new folder, as of one moment at which all of it was fsynced,
    /// while records come and go. Everything is synced when this returns; it opens as a queue with the same topics.
    /// Blocks on the disk. Returns the copied bytes.
    ///
    /// # Errors
    /// When the folder exists already or can't be written; what was written of it is removed again.
    pub fn copy_to(&self, dir: &Path) -> Result<u64, QueueError> {
        let io = |what| {
            let path = dir.to_owned();
            move |source| QueueError::Io { what, path, source }
        };
        fs::create_dir(dir).map_err(io("making"))?;
        let copied = self.shared.copy_into(dir).and_then(|bytes| {
            let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
            let synced = offsets::sync_dir(dir);
            synced
                .and_then(|()| offsets::sync_dir(parent.unwrap_or(Path::new("."))))
                .map_err(io("syncing"))?;
            Ok(bytes)
        });
        if copied.is_err() {
            // The first error is the one to tell.
            let _ = fs::remove_dir_all(dir);
        }
        copied
    }

    /// How many partitions a topic has; `None` for an unknown topic.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.shared.topic(topic).map(|topic| topic.partitions.len() as u32)
    }

    /// Why records are refused now, in a sentence for an operator; `None` while they are taken. A send that finds its
    /// queue full for a moment is no trouble.
    pub fn trouble(&self) -> Option<String> {
        let shared = &self.shared;
        let unwritten = shared.logs.iter().find_map(|log| Some((log.name, log.refusing()?)));
        if let Some((log, error)) = unwritten {
            let dir = shared.config.dir.display();
            return Some(format!("the log {log} in {dir} can't be written, so sends are refused: {error}"));
        }
        let (topic, _) = shared.gates().find(|(_, refused)| *refused)?;
        Some(format!("sends to {topic} are refused: more than backlog_max_bytes of it are not consumed"))
    }

    /// Refuses further records, writes those that wait and the commits. Blocks for that; consumers get
    /// `Revoked` and nothing more.
    pub fn close(&self) {
        self.shared.close();
    }
}

/// How far each group is done, and the numbers of the topics.
const COMMITS: &str = "commits.json";
const TOPICS: &str = "topics.json";

/// The log of topics that are kept until consumed, and the log of those kept by age and size: in one log a
/// single kept record would hold a whole segment of consumed ones.
const WORK: &str = "work";
const KEPT: &str = "kept";

fn kinds(topics: &[&TopicConfig]) -> Vec<(&'static str, Keep)> {
    let mut kinds = Vec::new();
    if topics.iter().any(|topic| topic.retention == Retention::UntilConsumed) {
        kinds.push((WORK, Keep::UntilConsumed));
    }
    let kept = topics.iter().filter_map(|topic| match topic.retention {
        Retention::Kept { max_age_ms, max_bytes } => Some((max_age_ms, max_bytes)),
        Retention::UntilConsumed => None,
    });
    if let Some((max_age_ms, max_bytes)) = kept.reduce(|a, b| (a.0.max(b.0), a.1.max(b.1))) {
        kinds.push((KEPT, Keep::For { max_age_ms, max_bytes }));
    }
    kinds
}

fn check(config: &EmbeddedConfig) -> Result<(), QueueError> {
    let wrong = |text: String| Err(QueueError::Config(text));
    for (i, topic) in config.topics.iter().enumerate() {
        if topic.partitions == 0 || topic.partitions > 65_536 {
            return wrong(format!("topic {} has {} partitions", topic.name, topic.partitions));
        }
        if config.topics[..i].iter().any(|other| other.name == topic.name) {
            return wrong(format!("topic {} is named twice", topic.name));
        }
    }
    if config.batch_max_bytes < config.record_max_bytes || config.queue_max_bytes < config.record_max_bytes {
        return wrong("batch_max_bytes and queue_max_bytes must be at least record_max_bytes".into());
    }
    if config.batch_max_bytes as u64 > config.segment_bytes || config.batch_max_bytes > 256 << 20 {
        return wrong("batch_max_bytes must be at most segment_bytes and 256 MiB".into());
    }
    if config.refused_retry_ms == 0 {
        return wrong("refused_retry_ms must be at least 1".into());
    }
    Ok(())
}

fn make_topic(topic: &TopicConfig, config: &EmbeddedConfig) -> Topic {
    let bound = match (topic.durable, topic.retention) {
        (true, Retention::UntilConsumed) => {
            MemoryBound { records: usize::MAX, bytes: config.cache_max_bytes }
        }
        // Nobody follows what is kept for people.
        (true, Retention::Kept { .. }) => MemoryBound { records: 0, bytes: 0 },
        (false, _) => MemoryBound { records: config.memory_max_records, bytes: config.memory_max_bytes },
    };
    let partition = |partition| {
        let tp = TopicPartition { topic: topic.name, partition };
        Arc::new(Partition::new(tp, topic.durable, bound))
    };
    Topic {
        name: topic.name,
        partitions: (0..topic.partitions).map(partition).collect(),
        log: None,
        turn: AtomicU32::new(0),
        gate: Arc::new(AtomicBool::new(false)),
    }
}

fn lock_dir(config: &EmbeddedConfig) -> Result<File, QueueError> {
    let path = config.dir.join("lock");
    let io = |what| {
        let path = path.clone();
        move |source| QueueError::Io { what, path, source }
    };
    offsets::make_dir(&config.dir).map_err(io("making the folder of"))?;
    let file = File::create(&path).map_err(io("making"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(QueueError::Locked(config.dir.clone())),
        Err(TryLockError::Error(source)) => Err(io("locking")(source)),
    }
}

/// Gives the groups their commits back and starts the thread that keeps them.
fn start_keeper(
    config: &EmbeddedConfig,
    topics: &[Topic],
    logs: Vec<Arc<Log>>,
    signal: Arc<Signal>,
    counts: Arc<Counts>,
) -> Result<JoinHandle<()>, QueueError> {
    let path = config.dir.join(COMMITS);
    let durable: Vec<&Topic> = topics.iter().filter(|topic| topic.log.is_some()).collect();
    for (group, by_topic) in offsets::read(&path) {
        for topic in &durable {
            let list = by_topic.get(topic.name).map(Vec::as_slice).unwrap_or_default();
            for (partition, next) in topic.partitions.iter().zip(list) {
                // What is deleted was committed by every group, though a power loss may have taken the newest commits.
                let oldest = partition.lock().oldest_stored();
                partition.commit(&group, oldest.max(*next));
            }
        }
    }
    let partitions = durable.iter().flat_map(|topic| topic.partitions.iter().cloned()).collect();
    let delay = Duration::from_millis(config.offsets_flush_ms);
    let keeper = Keeper { logs, partitions, path: path.clone(), delay, signal, counts };
    let on_fatal = config.on_fatal.clone();
    std::thread::Builder::new()
        .name("mq-keeper".into())
        .spawn(move || guarded(&on_fatal, "the queue's keeper panicked", || keeper.run()))
        .map_err(|source| QueueError::Io { what: "starting the keeper of", path, source })
}

/// The thread that read from the files panicked, or the runtime is ending.
fn read_ended(error: tokio::task::JoinError) -> QueueError {
    QueueError::Io { what: "reading", path: PathBuf::new(), source: std::io::Error::other(error) }
}

/// A reader's bell: rung by every partition that it reads.
pub(super) fn bell<'a>(partitions: impl Iterator<Item = &'a Arc<Partition>>) -> Arc<Notify> {
    let bell = Arc::new(Notify::new());
    for partition in partitions {
        partition.wake_for(&bell);
    }
    bell
}
