//! The queue as a whole: its topics, its groups, opening and closing.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use super::consumer::{Consumer, Group};
use super::partition::{MemoryBound, Partition};
use super::producer::Producer;
use super::tail::Tail;
use super::{ConsumerConfig, EmbeddedConfig, QueueError, TopicPartition};

/// The embedded queue. Clones share it.
#[derive(Debug, Clone)]
pub struct Queue {
    shared: Arc<Shared>,
}

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) config: EmbeddedConfig,
    pub(super) topics: Vec<Topic>,
    pub(super) closed: AtomicBool,
    groups: Mutex<HashMap<Arc<str>, Arc<Group>>>,
}

#[derive(Debug)]
pub(super) struct Topic {
    pub(super) name: &'static str,
    pub(super) durable: bool,
    pub(super) partitions: Vec<Arc<Partition>>,
    /// Takes records without a key to each partition in turn.
    pub(super) turn: AtomicU32,
}

impl Shared {
    /// There are few topics: comparing names is quicker than hashing them.
    pub(super) fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }
}

impl Queue {
    /// Opens the queue in its folder.
    ///
    /// # Errors
    /// When the folder can't be used, is used by another process, or is damaged; or when the configuration
    /// contradicts itself.
    pub fn open_embedded(config: EmbeddedConfig) -> Result<Queue, QueueError> {
        for topic in &config.topics {
            if topic.partitions == 0 || topic.partitions > 65_536 {
                return Err(QueueError::Config(format!(
                    "topic {} has {} partitions",
                    topic.name, topic.partitions
                )));
            }
        }
        let topics = config
            .topics
            .iter()
            .map(|topic| {
                let bound = match topic.durable {
                    true => MemoryBound { records: usize::MAX, bytes: config.cache_max_bytes },
                    false => {
                        MemoryBound { records: config.memory_max_records, bytes: config.memory_max_bytes }
                    }
                };
                let partition = |partition| {
                    Arc::new(Partition::new(TopicPartition { topic: topic.name, partition }, bound))
                };
                Topic {
                    name: topic.name,
                    durable: topic.durable,
                    partitions: (0..topic.partitions).map(partition).collect(),
                    turn: AtomicU32::new(0),
                }
            })
            .collect();
        let shared = Shared { config, topics, closed: AtomicBool::new(false), groups: Mutex::default() };
        Ok(Queue { shared: Arc::new(shared) })
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
        let mut partitions = Vec::new();
        for name in topics {
            let topic =
                self.shared.topic(name).ok_or_else(|| QueueError::UnknownTopic((*name).to_owned()))?;
            partitions.extend(topic.partitions.iter().cloned());
        }
        let mut groups = self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner);
        let group = groups.entry(group.into()).or_insert_with(|| Arc::new(Group::new(group))).clone();
        Ok(Consumer::new(self.shared.clone(), group, partitions, config))
    }

    /// Follows one partition from its present end, outside of any group.
    ///
    /// # Errors
    /// For an unknown topic or partition.
    pub fn tail(&self, topic: &str, partition: u32) -> Result<Tail, QueueError> {
        let unknown = || QueueError::UnknownTopic(topic.to_owned());
        let found = self.shared.topic(topic).ok_or_else(unknown)?;
        let partition = found.partitions.get(partition as usize).ok_or_else(unknown)?;
        Ok(Tail::new(partition.clone(), self.shared.config.tail))
    }

    /// How many partitions a topic has; `None` for an unknown topic.
    pub fn partitions(&self, topic: &str) -> Option<u32> {
        self.shared.topic(topic).map(|topic| topic.partitions.len() as u32)
    }

    /// Refuses further records, writes what is waiting and the commits. Blocks for that; consumers get
    /// `Revoked` and nothing more.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::Release);
        let groups = self.shared.groups.lock().unwrap_or_else(PoisonError::into_inner);
        for group in groups.values() {
            group.end();
        }
    }
}

/// A reader's bell: rung by every partition that it reads.
pub(super) fn bell<'a>(partitions: impl Iterator<Item = &'a Arc<Partition>>) -> Arc<Notify> {
    let bell = Arc::new(Notify::new());
    for partition in partitions {
        partition.wake_for(&bell);
    }
    bell
}
