//! Segments go when every group is done with them, and only then; offsets go on where they were. What nobody
//! consumes is bounded by refusing, and what is kept for people by age and size.

mod support;

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Instant;

use gochat_infra::mq::{EmbeddedConfig, Queue, SendError};
use gochat_infra::telemetry::Metrics;
use support::*;

fn files(dir: &Path, log: &str) -> usize {
    std::fs::read_dir(dir.join(log)).unwrap().count()
}

fn many(count: u32) -> impl Iterator<Item = gochat_infra::mq::Outgoing> {
    (0..count).map(|n| to(WORK, n % 4, vec![7; 1000]))
}

#[tokio::test]
async fn consumed_segments_are_deleted_and_offsets_go_on() {
    let dir = tempfile::tempdir().unwrap();
    {
        let queue = open(dir.path());
        let (mut one, two) = (consumer(&queue, "one", &[WORK]).await, consumer(&queue, "two", &[WORK]).await);
        send_all(&queue.producer(), many(1000));
        read(&mut one, 1000).await;
        for partition in 0..4 {
            one.commit(&tp(WORK, partition), 250);
        }
        queue.close();
        drop((one, two));
    }
    assert!(files(dir.path(), "work") > 10, "the other group needs them");
    {
        let queue = open(dir.path());
        let mut two = consumer(&queue, "two", &[WORK]).await;
        read(&mut two, 1000).await;
        for partition in 0..4 {
            two.commit(&tp(WORK, partition), 250);
        }
        queue.close();
    }
    assert_eq!(files(dir.path(), "work"), 1);
    // Another topic fills segments, so that none is left with a record of this one.
    for _ in 0..2 {
        let queue = open(dir.path());
        let mut one = consumer(&queue, "one", &[WORK, OTHER]).await;
        send_all(&queue.producer(), (0..200).map(|_| to(OTHER, 0, vec![7; 1000])));
        let last = read(&mut one, 200).await.pop().unwrap();
        one.commit(&tp(OTHER, 0), last.offset + 1);
        queue.close();
    }
    assert_eq!(files(dir.path(), "work"), 1);
    let queue = open(dir.path());
    for partition in 0..4 {
        assert_eq!(send(&queue.producer(), to(WORK, partition, "x")).unwrap().offset, 250);
    }
    let mut one = consumer(&queue, "one", &[WORK]).await;
    assert!(read(&mut one, 4).await.iter().all(|record| record.offset == 250));
}

#[tokio::test]
async fn too_much_that_is_not_consumed_is_refused_until_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let config = EmbeddedConfig { backlog_max_bytes: 200 << 10, ..config(dir.path()) };
    let queue = Queue::open_embedded(config).unwrap();
    let metrics = Metrics::new();
    queue.register_metrics(&metrics);
    let producer = queue.producer();
    let mut group = consumer(&queue, "logic", &[WORK]).await;
    let mut sent = 0;
    while send(&producer, to(WORK, 0, vec![7; 1000])) != Err(SendError::QueueFull) {
        sent += 1;
        assert!(sent < 350, "more than the bound and a segment");
    }
    settle(&producer);
    let trouble = queue.trouble().expect("trouble");
    assert!(trouble.contains(WORK) && trouble.contains("backlog_max_bytes"), "{trouble}");
    let text = metrics.encode();
    assert!(text.contains("\nmq_topic_refused{topic=\"work.a\"} 1"), "{text}");
    assert!(text.contains("\nmq_refused_total{reason=\"backlog\"} 1"), "{text}");
    assert!(text.contains(&format!("\nmq_lag_records{{group=\"logic\",topic=\"work.a\"}} {sent}")), "{text}");
    for (name, labels) in [
        ("mq_oldest_age_ms", "{group=\"logic\",topic=\"work.a\"} "),
        ("mq_log_bytes", "{log=\"work\"} 2"),
        ("mq_memory_records", "{topic=\"work.a\"} "),
        ("mq_fsync_seconds_count", " "),
    ] {
        assert!(text.contains(&format!("\n{name}{labels}")), "{name}: {text}");
    }
    // A topic that pins nothing is open, or whoever has to finish the work could not.
    send(&producer, to(OTHER, 0, "x")).unwrap();
    read(&mut group, sent).await;
    group.commit(&tp(WORK, 0), sent as u64);
    let begun = std::time::Instant::now();
    while send(&producer, to(WORK, 0, "again")).is_err() {
        std::thread::yield_now();
        assert!(begun.elapsed() < PATIENCE);
    }
    assert_eq!(queue.trouble(), None);
}

#[tokio::test]
async fn what_is_kept_for_people_is_bounded_by_size() {
    let dir = tempfile::tempdir().unwrap();
    {
        let queue = open(dir.path());
        send_all(&queue.producer(), (0..1000).map(|_| to(KEPT, 0, vec![7; 1000])));
        queue.close();
    }
    assert!((1..=3).contains(&files(dir.path(), "kept")), "{}", files(dir.path(), "kept"));
    let queue = open(dir.path());
    let mut people = consumer(&queue, "people", &[KEPT]).await;
    let kept = people.lag() as usize;
    assert!((1..200).contains(&kept), "{kept}");
    let found = read(&mut people, kept).await;
    assert!((1000 - kept as u64..1000).eq(found.iter().map(|record| record.offset)));
}

/// How often each reader must find that what it read last is gone. A segment lasts for a few reads only, so about as many are deleted
/// as this, each with several syncs of the disk: they are what the test's time goes for.
const DELETIONS_MET: u32 = 60;

/// A reader gets records without a hole from the oldest on, however quickly these go.
#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_is_deleted_while_it_is_read_is_whole_or_gone() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let met: Arc<[AtomicU32; 3]> = Arc::default();
    let all_met = |met: &[AtomicU32]| met.iter().all(|met| met.load(Ordering::Relaxed) >= DELETIONS_MET);
    let readers: Vec<_> = (0..met.len())
        .map(|reader| {
            let (queue, met) = (queue.clone(), met.clone());
            tokio::spawn(async move {
                let mut oldest = 0;
                while !all_met(&*met) {
                    let found = queue.read(KEPT, 0, 0, 1000, usize::MAX).await.unwrap();
                    let offsets = found.iter().map(|record| record.offset);
                    let first = found.first().map_or(oldest, |record| record.offset);
                    assert!(offsets.eq((first..).take(found.len())), "a hole behind {first}");
                    assert!(first >= oldest, "what was gone is there again: {first} after {oldest}");
                    met[reader].fetch_add(u32::from(first > oldest), Ordering::Relaxed);
                    oldest = first;
                }
            })
        })
        .collect();
    let producer = queue.producer();
    let written = tokio::task::spawn_blocking(move || {
        let begun = Instant::now();
        while !all_met(&*met) {
            assert!(begun.elapsed() < PATIENCE, "readers meet no deletions: {met:?}");
            send_all(&producer, (0..64).map(|_| to(KEPT, 0, vec![7; 1000])));
        }
    });
    for reader in readers {
        reader.await.unwrap();
    }
    written.await.unwrap();
}

/// The commits' file isn't synced with its name: after a power loss it may be an older one than the segments that are left.
#[tokio::test]
async fn commits_older_than_the_oldest_segment_are_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let commits = dir.path().join("commits.json");
    let mut older = Vec::new();
    for next in [10, 250] {
        let queue = open(dir.path());
        let mut one = consumer(&queue, "one", &[WORK]).await;
        if next == 10 {
            send_all(&queue.producer(), many(1000));
        }
        let waiting = one.lag() as usize;
        read(&mut one, if next == 10 { 1000 } else { waiting }).await;
        for partition in 0..4 {
            one.commit(&tp(WORK, partition), next);
        }
        queue.close();
        if next == 10 {
            older = std::fs::read(&commits).unwrap();
        }
    }
    assert_eq!(files(dir.path(), "work"), 1);
    std::fs::write(&commits, older).unwrap();
    let queue = open(dir.path());
    let metrics = Metrics::new();
    queue.register_metrics(&metrics);
    let mut one = consumer(&queue, "one", &[WORK]).await;
    let left = one.lag() as usize;
    assert!(left < 100, "{left} of one segment");
    assert_eq!(read(&mut one, left).await.len(), left);
    assert!(metrics.encode().contains("mq_lost_records_total 0"), "{}", metrics.encode());
}
