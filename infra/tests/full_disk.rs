//! On a full disk records are refused, never acknowledged; what was acknowledged stays; what is consumed makes room
//! again without anybody's help; and a copy that does not fit leaves nothing behind.
//!
//! Method: a file system of 2 MiB in a namespace of the test's own. The same at random is in model.rs.

#[path = "support/disk.rs"]
mod disk;
mod support;

use disk::Disk;
use gochat_infra::mq::{EmbeddedConfig, Queue, SendError};
use gochat_infra::telemetry::Metrics;
use support::*;

fn value(n: usize) -> Vec<u8> {
    [n.to_le_bytes().as_slice(), &[7; 1000]].concat()
}

#[test]
fn what_is_consumed_makes_room() {
    let Some(disk) = Disk::for_test("what_is_consumed_makes_room", "2m") else { return };
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let queue = Queue::open_embedded(config(&disk.path().join("queue"))).unwrap();
        let metrics = Metrics::new();
        queue.register_metrics(&metrics);
        let producer = queue.producer();
        let mut group = consumer(&queue, "logic", &[WORK]).await;
        let mut sent = 0;
        let refused = loop {
            match send(&producer, to(WORK, 0, value(sent))) {
                Ok(position) => assert_eq!(position.offset, sent as u64),
                Err(error) => break error,
            }
            sent += 1;
        };
        assert!(matches!(&refused, SendError::Storage(reason) if reason.contains("space")), "{refused}");
        assert!(sent > 1000, "{sent}");
        disk.fill(0);
        // As often as one asks: nothing is half done that a later one would trip over.
        for _ in 0..100 {
            assert!(matches!(send(&producer, to(WORK, 0, vec![1; 8000])), Err(SendError::Storage(_))));
        }
        assert!(
            metrics.encode().contains("mq_refused_total{reason=\"storage\"} 101"),
            "{}",
            metrics.encode()
        );
        let copy = disk.path().join("copy");
        assert!(queue.copy_to(&copy).is_err());
        assert!(!copy.exists());
        for (n, record) in read(&mut group, sent).await.iter().enumerate() {
            assert_eq!((record.offset, &record.value[..]), (n as u64, &value(n)[..]));
        }
        group.commit(&tp(WORK, 0), sent as u64);
        let begun = std::time::Instant::now();
        while send(&producer, to(WORK, 0, value(sent))).is_err() {
            tokio::task::yield_now().await;
            assert!(begun.elapsed() < PATIENCE, "it never came back");
        }
        queue.close();
        drop((group, producer, queue));
        let queue = Queue::open_embedded(config(&disk.path().join("queue"))).unwrap();
        let mut group = consumer(&queue, "logic", &[WORK]).await;
        assert_eq!(group.lag(), 1, "the commit was kept");
        assert_eq!(read(&mut group, 1).await[0].offset, sent as u64);
    });
}

#[test]
fn a_queue_says_why_it_refuses_until_it_takes_again() {
    let Some(disk) = Disk::for_test("a_queue_says_why_it_refuses_until_it_takes_again", "2m") else {
        return;
    };
    let settings = EmbeddedConfig { refused_retry_ms: 1, ..config(&disk.path().join("queue")) };
    let queue = Queue::open_embedded(settings).unwrap();
    let producer = queue.producer();
    assert_eq!(send(&producer, to(WORK, 0, "before")).unwrap().offset, 0);
    assert_eq!(queue.trouble(), None);
    disk.fill(0);
    while send(&producer, to(WORK, 0, vec![1; 8000])).is_ok() {}
    let trouble = queue.trouble().expect("trouble");
    assert!(trouble.contains("space") && trouble.contains("queue"), "{trouble}");
    disk.free();
    // Nobody sends: it finds out by itself.
    let begun = std::time::Instant::now();
    while queue.trouble().is_some() {
        assert!(begun.elapsed() < PATIENCE, "it never noticed");
        std::thread::yield_now();
    }
    let position = send(&producer, to(WORK, 1, "after")).unwrap();
    assert_eq!(position.offset, 0);
    queue.close();
    drop((producer, queue));
    // What was tried with is no part of the log.
    let queue = open(&disk.path().join("queue"));
    assert_eq!(send(&queue.producer(), to(WORK, 1, "later")).unwrap().offset, 1);
}

#[test]
fn a_queue_opens_on_a_full_disk_and_serves_what_it_has() {
    let Some(disk) = Disk::for_test("a_queue_opens_on_a_full_disk_and_serves_what_it_has", "2m") else {
        return;
    };
    let dir = disk.path().join("queue");
    {
        let queue = open(&dir);
        send_all(&queue.producer(), (0..300).map(|n| to(WORK, 0, value(n))));
        queue.close();
    }
    disk.fill(0);
    tokio::runtime::Runtime::new().unwrap().block_on(async {
        let queue = open(&dir);
        let mut group = consumer(&queue, "logic", &[WORK]).await;
        assert_eq!(read(&mut group, 300).await.len(), 300);
        disk.free();
        assert_eq!(send(&queue.producer(), to(WORK, 0, "x")).unwrap().offset, 300);
    });
    // Without any log there is nothing to serve: the reason is told, and nothing is left half made.
    disk.fill(0);
    let refused = Queue::open_embedded(config(&disk.path().join("new"))).unwrap_err().to_string();
    assert!(refused.contains("space"), "{refused}");
    disk.free();
    drop(open(&disk.path().join("new")));
}
