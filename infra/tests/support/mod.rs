//! What the queue's tests share.
#![allow(dead_code, unreachable_pub)]

use std::path::Path;
use std::sync::mpsc;
use std::time::Duration;

use bytes::Bytes;
use gochat_infra::mq::{
    Consumer, ConsumerConfig, EmbeddedConfig, Event, Outgoing, Position, Producer, Queue, Record, SendError,
    Target, TopicConfig, TopicPartition,
};

pub const WORK: &str = "work.a";
pub const OTHER: &str = "work.b";
pub const KEPT: &str = "kept";
pub const LIVE: &str = "live";

/// Nothing here takes this long; it only ends a test that would hang.
pub const PATIENCE: Duration = Duration::from_secs(30);

pub fn config(dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig {
        dir: dir.to_owned(),
        topics: vec![
            TopicConfig::durable(WORK, 4),
            TopicConfig::durable(OTHER, 1),
            TopicConfig::kept(KEPT, 1, 60_000, 64 << 10),
            TopicConfig::memory(LIVE, 2),
        ],
        segment_bytes: 64 << 10,
        prefill_bytes: 16 << 10,
        batch_max_bytes: 16 << 10,
        record_max_bytes: 8 << 10,
        offsets_flush_ms: 1,
        ..EmbeddedConfig::default()
    }
}

pub fn open(dir: &Path) -> Queue {
    Queue::open_embedded(config(dir)).unwrap()
}

pub fn to(topic: &'static str, partition: u32, value: impl Into<Bytes>) -> Outgoing {
    Outgoing { topic, target: Target::Partition(partition), key: Bytes::new(), value: value.into() }
}

/// Sends, and waits for the answer without a runtime.
pub fn send(producer: &Producer, record: Outgoing) -> Result<Position, SendError> {
    let (tell, told) = mpsc::channel();
    producer.send(record, move |outcome| tell.send(outcome).unwrap())?;
    told.recv_timeout(PATIENCE).expect("an answer")
}

/// Sends many at once, so that they share batches, and waits for all.
pub fn send_all(producer: &Producer, records: impl IntoIterator<Item = Outgoing>) -> Vec<Position> {
    send_each(producer, records).into_iter().map(Result::unwrap).collect()
}

/// The same where some may be refused: the answers in the order of the records.
pub fn send_each(
    producer: &Producer,
    records: impl IntoIterator<Item = Outgoing>,
) -> Vec<Result<Position, SendError>> {
    let (tell, told) = mpsc::channel();
    let mut count = 0;
    for record in records {
        let tell = tell.clone();
        producer.send(record, move |outcome| tell.send(outcome).unwrap()).unwrap();
        count += 1;
    }
    (0..count).map(|_| told.recv_timeout(PATIENCE).expect("an answer")).collect()
}

/// A record is shown to readers after its answer, but before the answer to a later one: when this returns,
/// readers find everything that was answered before. It takes an offset of [`OTHER`].
pub fn settle(producer: &Producer) {
    send(producer, to(OTHER, 0, "settled")).unwrap();
}

pub async fn next(consumer: &mut Consumer) -> Event {
    tokio::time::timeout(PATIENCE, consumer.next()).await.expect("an event")
}

/// A consumer that was told its assignment.
pub async fn consumer(queue: &Queue, group: &str, topics: &[&str]) -> Consumer {
    let mut consumer = queue.consumer(group, topics, ConsumerConfig::default()).unwrap();
    assert!(matches!(next(&mut consumer).await, Event::Assigned(_)));
    consumer
}

pub async fn records(consumer: &mut Consumer) -> Vec<Record> {
    match next(consumer).await {
        Event::Records(records) => records,
        other => panic!("{other:?}"),
    }
}

/// Reads until this many records came.
pub async fn read(consumer: &mut Consumer, count: usize) -> Vec<Record> {
    let mut all = Vec::new();
    while all.len() < count {
        all.extend(records(consumer).await);
    }
    assert_eq!(all.len(), count);
    all
}

pub fn tp(topic: &'static str, partition: u32) -> TopicPartition {
    TopicPartition { topic, partition }
}

pub fn text(record: &Record) -> String {
    String::from_utf8(record.value.to_vec()).unwrap()
}
