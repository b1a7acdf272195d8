//! Every bound of the queue has one answer when it is reached, and a counter with its reason. (The backlog's is in
//! what_is_consumed_goes.rs, the disk's in full_disk.rs.)

mod support;

use std::path::Path;
use std::sync::mpsc;
use std::time::Instant;

use gochat_infra::mq::{ConsumerConfig, EmbeddedConfig, Queue, SendError, TailEvent};
use gochat_infra::telemetry::Metrics;
use support::*;

fn open_with(dir: &Path, change: impl FnOnce(&mut EmbeddedConfig)) -> (Queue, Metrics) {
    let mut config = config(dir);
    change(&mut config);
    let (queue, metrics) = (Queue::open_embedded(config).unwrap(), Metrics::new());
    queue.register_metrics(&metrics);
    (queue, metrics)
}

fn has(metrics: &Metrics, line: &str) {
    let text = metrics.encode();
    assert!(text.contains(&format!("\n{line}\n")), "{line} in {text}");
}

/// What waits for the disk is bounded by count and by bytes; each record costs 64 bytes more than it holds.
#[test]
fn what_waits_for_the_disk_is_bounded() {
    let bytes: fn(&mut EmbeddedConfig) = |config| config.queue_max_bytes = 10 * (8 << 10);
    let records: fn(&mut EmbeddedConfig) = |config| config.queue_max_records = 5;
    for (change, length, count) in [(bytes, (8 << 10) - 64, 10), (bytes, 4096 - 64, 20), (records, 1, 5)] {
        let dir = tempfile::tempdir().unwrap();
        let (queue, metrics) = open_with(dir.path(), change);
        let producer = queue.producer();
        // The log's thread waits inside of the first answer, so what follows piles up.
        let ((hold, held), (inside, entered)) = (mpsc::channel::<()>(), mpsc::channel());
        let first = move |_| {
            inside.send(()).unwrap();
            held.recv().unwrap();
        };
        producer.send(to(WORK, 0, "first"), first).unwrap();
        entered.recv_timeout(PATIENCE).unwrap();
        let next = || producer.send(to(WORK, 0, vec![7; length]), |_| {});
        for _ in 0..count {
            next().unwrap();
        }
        assert_eq!(next(), Err(SendError::QueueFull));
        has(&metrics, "mq_refused_total{reason=\"full\"} 1");
        has(&metrics, &format!("mq_waiting_records{{log=\"work\"}} {count}"));
        hold.send(()).unwrap();
        let begun = Instant::now();
        let again = loop {
            match send(&producer, to(WORK, 0, "again")) {
                Ok(position) => break position,
                Err(error) => assert_eq!(error, SendError::QueueFull),
            }
            assert!(begun.elapsed() < PATIENCE, "it takes nothing although there is room");
            std::thread::yield_now();
        };
        assert_eq!(again.offset, count + 1);
    }
}

#[test]
fn what_is_too_large_or_too_late_is_refused_with_its_reason() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, metrics) = open_with(dir.path(), |_| {});
    let producer = queue.producer();
    for topic in [WORK, LIVE] {
        send(&producer, to(topic, 0, vec![7; 8 << 10])).unwrap();
        let too_large = send(&producer, to(topic, 0, vec![7; (8 << 10) + 1]));
        assert_eq!(too_large, Err(SendError::TooLarge((8 << 10) + 1)));
    }
    queue.close();
    for topic in [WORK, LIVE] {
        assert_eq!(send(&producer, to(topic, 0, "late")), Err(SendError::Closed));
    }
    has(&metrics, "mq_refused_total{reason=\"too_large\"} 2");
    has(&metrics, "mq_refused_total{reason=\"closed\"} 2");
}

/// A tail returns so much at once, and a topic in memory holds so many bytes.
#[tokio::test]
async fn a_tail_and_its_memory_are_bounded_in_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let (queue, metrics) = open_with(dir.path(), |config| {
        config.memory_max_bytes = 10 * 164;
        config.tail = ConsumerConfig { max_records: 4, max_bytes: 3 * 164 };
    });
    let mut tail = queue.tail(LIVE, 0).unwrap();
    let producer = queue.producer();
    for _ in 0..12 {
        send(&producer, to(LIVE, 0, vec![7; 100])).unwrap();
    }
    has(&metrics, "mq_memory_records{topic=\"live\"} 10");
    has(&metrics, "mq_memory_bytes{topic=\"live\"} 1640");
    assert_eq!(tail.next().await, TailEvent::Lost(2));
    has(&metrics, "mq_lost_records_total 2");
    let mut counts = Vec::new();
    while counts.iter().sum::<usize>() < 10 {
        let TailEvent::Records(records) = tail.next().await else { panic!("nothing more is lost") };
        counts.push(records.len());
    }
    assert_eq!(counts, [3, 3, 3, 1]);
    for _ in 0..8 {
        send(&producer, to(LIVE, 0, "x")).unwrap();
    }
    for _ in 0..2 {
        let TailEvent::Records(records) = tail.next().await else { panic!("nothing is lost") };
        assert_eq!(records.len(), 4);
    }
}
