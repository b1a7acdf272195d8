//! A copy is the queue as it was at one moment, taken while records come and go: everything acknowledged before it is
//! there, nothing is torn, no commit is ahead of the records, and what was not committed is not missing.

mod support;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use gochat_infra::mq::{ConsumerConfig, EmbeddedConfig, Event, Queue, QueueError};
use support::*;

fn value(n: u64) -> String {
    format!("{n}:{}", "x".repeat(n as usize % 900))
}

/// Opens a copy and checks it; returns how many records it ever had.
async fn check(dir: &std::path::Path, acknowledged: u64, committed: u64) -> u64 {
    let queue = open(dir);
    let mut group = consumer(&queue, "logic", &[WORK]).await;
    let lag = group.lag();
    let found = read(&mut group, lag as usize).await;
    let first = found.first().map_or(acknowledged, |record| record.offset);
    assert!(first >= committed, "a commit made before the copy is in it");
    for (offset, record) in (first..).zip(&found) {
        assert_eq!((record.offset, text(record)), (offset, value(offset)));
    }
    let next = first + found.len() as u64;
    assert!(next >= acknowledged, "{acknowledged} were acknowledged, {next} are there");
    // It goes on as a queue of its own.
    assert_eq!(send(&queue.producer(), to(WORK, 0, value(next))).unwrap().offset, next);
    next
}

#[tokio::test(flavor = "multi_thread")]
async fn a_copy_under_traffic_is_whole() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let queue = open(dir.path());
    let (acknowledged, committed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicBool::new(false));
    let sender = std::thread::spawn({
        let (producer, acknowledged, stop) = (queue.producer(), acknowledged.clone(), stop.clone());
        move || {
            for n in 0u64.. {
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                // The kept log is copied too.
                producer.send(to(KEPT, 0, value(n)), |outcome| assert!(outcome.is_ok())).unwrap();
                send(&producer, to(WORK, 0, value(n))).unwrap();
                acknowledged.store(n + 1, Ordering::SeqCst);
            }
        }
    });
    let mut group = consumer(&queue, "logic", &[WORK]).await;
    let reader = tokio::spawn({
        let committed = committed.clone();
        async move {
            // Until the queue is closed: nothing else wakes a reader who has read all.
            while let Event::Records(records) = group.next().await {
                let next = records.last().unwrap().offset + 1;
                // Always behind, so that segments go and some stay.
                group.commit(&tp(WORK, 0), next.saturating_sub(50));
                committed.store(next.saturating_sub(50), Ordering::SeqCst);
            }
        }
    });
    let mut seen = 0;
    for number in 0..5 {
        // Enough for several segments between two copies.
        while acknowledged.load(Ordering::SeqCst) < seen + 400 {
            tokio::task::yield_now().await;
        }
        let (acked, done) = (acknowledged.load(Ordering::SeqCst), committed.load(Ordering::SeqCst));
        let (to, queue) = (copies.path().join(number.to_string()), queue.clone());
        let path = to.clone();
        let bytes = tokio::task::spawn_blocking(move || queue.copy_to(&path)).await.unwrap().unwrap();
        assert!(bytes > 0);
        seen = check(&to, acked, done).await;
    }
    stop.store(true, Ordering::Relaxed);
    sender.join().unwrap();
    assert!(!reader.is_finished(), "it read to the end");
    queue.close();
    reader.await.unwrap();
}

#[tokio::test]
async fn a_copy_never_writes_into_what_is_there_and_leaves_nothing_half_done() {
    let (dir, copies) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let queue = open(dir.path());
    send(&queue.producer(), to(WORK, 0, "x")).unwrap();
    assert!(matches!(queue.copy_to(copies.path()), Err(QueueError::Io { what: "making", .. })));
    assert!(queue.copy_to(&copies.path().join("no/such")).is_err());
    assert_eq!(std::fs::read_dir(copies.path()).unwrap().count(), 0);
    // A file of the queue is gone: the copy would not open.
    std::fs::remove_file(dir.path().join("topics.json")).unwrap();
    assert!(queue.copy_to(&copies.path().join("half")).is_err());
    assert_eq!(std::fs::read_dir(copies.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_topic_is_read_from_anywhere_without_a_group() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { memory_max_records: 10, ..config(dir.path()) };
    let queue = Queue::open_embedded(config).unwrap();
    let producer = queue.producer();
    for topic in [KEPT, WORK, LIVE] {
        for n in 0..20u64 {
            send(&producer, to(topic, 0, value(n))).unwrap();
        }
        settle(&producer);
        let oldest = if topic == LIVE { 10 } else { 0 };
        for (from, records, bytes, expect) in [
            (0, 100, usize::MAX, oldest..20),
            (15, 100, usize::MAX, 15..20),
            (12, 3, usize::MAX, 12..15),
            (19, 1, 1, 19..20),
            (12, 100, 1, 12..13),
            (20, 100, usize::MAX, 20..20),
            (99, 100, usize::MAX, 99..99),
        ] {
            let found = queue.read(topic, 0, from, records, bytes).await.unwrap();
            let offsets: Vec<u64> = found.iter().map(|record| record.offset).collect();
            assert_eq!(offsets, expect.collect::<Vec<_>>(), "{topic} from {from}");
            assert!(found.iter().all(|record| text(record) == value(record.offset)));
        }
        assert!(queue.read(topic, 9, 0, 1, 1).await.is_err());
    }
    // It is no group: nothing is held back or committed by it.
    let mut group = queue.consumer("logic", &[WORK], ConsumerConfig::default()).unwrap();
    assert!(matches!(next(&mut group).await, Event::Assigned(_)));
    assert_eq!(group.lag(), 20);
}
