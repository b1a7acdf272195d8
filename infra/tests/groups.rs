//! A group gets every record of its topics in the order of each partition, again from its last commit after
//! a restart, and in large events when much is there.

mod support;

use std::collections::HashMap;

use bytes::Bytes;
use gochat_infra::mq::{ConsumerConfig, Event, Outgoing, SendError, Target};
use support::*;

#[tokio::test]
async fn what_was_not_committed_comes_again_after_a_restart() {
    let dir = tempfile::tempdir().unwrap();
    {
        let queue = open(dir.path());
        let producer = queue.producer();
        send_all(&producer, (0..100).map(|n| to(WORK, n % 4, format!("{n}"))));
        settle(&producer);
        let mut consumer = consumer(&queue, "logic", &[WORK]).await;
        assert_eq!(consumer.lag(), 100);
        assert_eq!(read(&mut consumer, 100).await.len(), 100);
        for partition in 0..4 {
            consumer.commit(&tp(WORK, partition), 10 + u64::from(partition));
        }
        assert_eq!(consumer.lag(), 54);
        queue.close();
        assert!(matches!(next(&mut consumer).await, Event::Revoked(_)));
        assert_eq!(send(&producer, to(WORK, 0, "x")), Err(SendError::Closed));
        assert_eq!(send(&producer, to(LIVE, 0, "x")), Err(SendError::Closed));
    }
    let queue = open(dir.path());
    let mut consumer = consumer(&queue, "logic", &[WORK]).await;
    let again = read(&mut consumer, 54).await;
    let mut next: HashMap<u32, u64> =
        (0..4).map(|partition| (partition, 10 + u64::from(partition))).collect();
    for record in &again {
        let expected = next.get_mut(&record.partition).unwrap();
        assert_eq!(record.offset, *expected);
        assert_eq!(text(record), format!("{}", record.offset * 4 + u64::from(record.partition)));
        *expected += 1;
    }
    let position = send(&queue.producer(), to(WORK, 0, "next")).unwrap();
    assert_eq!(position.offset, 25);
    assert_eq!(read(&mut consumer, 1).await[0].offset, 25);
}

#[tokio::test]
async fn everything_that_is_there_comes_in_one_event_up_to_the_bounds() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    send_all(&queue.producer(), (0..1000).map(|n| to(WORK, n % 4, format!("{n}"))));
    settle(&queue.producer());
    let mut all = consumer(&queue, "all", &[WORK]).await;
    assert_eq!(records(&mut all).await.len(), 1000);
    let bounds = ConsumerConfig { max_records: 300, max_bytes: 1 << 20 };
    let mut some = queue.consumer("some", &[WORK], bounds).unwrap();
    next(&mut some).await;
    let sizes = [records(&mut some).await.len(), records(&mut some).await.len()];
    assert_eq!(sizes, [300, 300]);
    let bounds = ConsumerConfig { max_records: 300, max_bytes: 1 };
    let mut few = queue.consumer("few", &[WORK], bounds).unwrap();
    next(&mut few).await;
    assert_eq!(records(&mut few).await.len(), 1);
}

#[tokio::test]
async fn a_busy_partition_does_not_starve_the_others() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    send_all(&queue.producer(), (0..100).map(|n| to(WORK, 0, format!("{n}"))));
    send_all(&queue.producer(), [to(WORK, 3, "rare")]);
    settle(&queue.producer());
    let bounds = ConsumerConfig { max_records: 10, max_bytes: 1 << 20 };
    let mut consumer = queue.consumer("logic", &[WORK], bounds).unwrap();
    next(&mut consumer).await;
    let mut first = Vec::new();
    for _ in 0..4 {
        first.extend(records(&mut consumer).await);
    }
    assert!(first.iter().any(|record| record.partition == 3));
}

#[tokio::test]
async fn pause_resume_and_seek_act_on_one_partition() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let producer = queue.producer();
    let mut consumer = consumer(&queue, "logic", &[WORK]).await;
    consumer.pause(&tp(WORK, 1));
    send_all(&producer, (0..8).map(|n| to(WORK, n % 4, format!("{n}"))));
    let got = read(&mut consumer, 6).await;
    assert!(got.iter().all(|record| record.partition != 1));
    consumer.resume(&tp(WORK, 1));
    let got = read(&mut consumer, 2).await;
    assert!(got.iter().all(|record| record.partition == 1));
    consumer.seek(&tp(WORK, 2), 1);
    let got = read(&mut consumer, 1).await;
    assert_eq!((got[0].partition, got[0].offset), (2, 1));
}

/// A call that is dropped, before or after it was woken, takes nothing with it.
#[tokio::test]
async fn a_dropped_wait_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let producer = queue.producer();
    let mut consumer = consumer(&queue, "logic", &[WORK]).await;
    let mut got = Vec::new();
    for n in 0..500u32 {
        let (tell, told) = tokio::sync::oneshot::channel();
        producer.send(to(WORK, n % 4, format!("{n}")), move |_| tell.send(()).unwrap()).unwrap();
        tokio::select! {
            event = consumer.next() => match event {
                Event::Records(records) => got.extend(records),
                other => panic!("{other:?}"),
            },
            // The answer comes just before the record is shown: the wait is dropped at the worst moment.
            told = told => told.unwrap(),
        }
    }
    got.extend(read(&mut consumer, 500 - got.len()).await);
    let mut next = [0; 4];
    for record in &got {
        assert_eq!(record.offset, next[record.partition as usize]);
        next[record.partition as usize] += 1;
    }
}

#[tokio::test]
async fn the_next_consumer_of_a_group_puts_the_one_before_out() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    send_all(&queue.producer(), (0..10).map(|n| to(WORK, 0, format!("{n}"))));
    let mut old = consumer(&queue, "logic", &[WORK]).await;
    read(&mut old, 10).await;
    old.commit(&tp(WORK, 0), 4);
    let mut new = queue.consumer("logic", &[WORK], ConsumerConfig::default()).unwrap();
    assert!(matches!(next(&mut old).await, Event::Revoked(list) if list.len() == 4));
    old.commit(&tp(WORK, 0), 10);
    next(&mut new).await;
    assert_eq!(read(&mut new, 6).await[0].offset, 4);
    old.resume(&tp(WORK, 0));
    assert!(tokio::time::timeout(std::time::Duration::ZERO, old.next()).await.is_err());
}

#[tokio::test]
async fn groups_are_apart_and_a_late_one_begins_with_the_oldest() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let mut one = consumer(&queue, "one", &[WORK, OTHER]).await;
    send_all(&queue.producer(), [to(WORK, 0, "a"), to(OTHER, 0, "b"), to(LIVE, 0, "c")]);
    read(&mut one, 2).await;
    one.commit(&tp(WORK, 0), 1);
    let mut two = consumer(&queue, "two", &[WORK, LIVE]).await;
    assert_eq!(read(&mut two, 2).await.len(), 2);
    assert!(queue.consumer("two", &["nothing"], ConsumerConfig::default()).is_err());
}

#[tokio::test]
async fn keys_go_where_kafka_sends_them_and_no_key_goes_round() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let producer = queue.producer();
    let keyed = |key: &'static str| Outgoing {
        topic: WORK,
        target: Target::ByKey,
        key: Bytes::from_static(key.as_bytes()),
        value: Bytes::new(),
    };
    // Kafka's murmur2 of "abc" is 479470107.
    assert_eq!(producer.partition(WORK, b"abc"), Some(479_470_107 % 4));
    assert_eq!(send(&producer, keyed("abc")).unwrap().partition, 479_470_107 % 4);
    let round: Vec<u32> = (0..4).map(|_| send(&producer, keyed("")).unwrap().partition).collect();
    assert_eq!(round, [0, 1, 2, 3]);
    assert_eq!(producer.partition("nothing", b"abc"), None);
    assert_eq!(send(&producer, to("nothing", 0, "")), Err(SendError::UnknownTopic("nothing")));
    assert_eq!(send(&producer, to(WORK, 4, "")), Err(SendError::UnknownTopic(WORK)));
    assert_eq!(send(&producer, to(WORK, 0, vec![0; 8193])), Err(SendError::TooLarge(8193)));
}

/// Much more than memory holds is read from the files, while more is written.
#[tokio::test]
async fn a_consumer_far_behind_catches_up_from_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.cache_max_bytes = 4096;
    let queue = gochat_infra::mq::Queue::open_embedded(config).unwrap();
    let producer = queue.producer();
    let mut consumer = consumer(&queue, "logic", &[WORK, OTHER]).await;
    let value = |n: u32| format!("{n}:{}", "x".repeat(n as usize % 300));
    for round in 0..10 {
        let numbers = round * 500..(round + 1) * 500;
        send_all(&producer, numbers.map(|n| to(if n % 5 == 4 { OTHER } else { WORK }, n % 5 % 4, value(n))));
    }
    let writer = std::thread::spawn(move || {
        for n in 5000..5500 {
            send(&producer, to(if n % 5 == 4 { OTHER } else { WORK }, n % 5 % 4, value(n))).unwrap();
        }
    });
    let got = read(&mut consumer, 5500).await;
    writer.join().unwrap();
    let mut next = HashMap::new();
    for record in &got {
        let offset = next.entry((record.topic, record.partition)).or_insert(0);
        assert_eq!(record.offset, *offset);
        let lane = if record.topic == OTHER { 4 } else { record.partition };
        assert_eq!(text(record), value(record.offset as u32 * 5 + lane));
        *offset += 1;
    }
    assert_eq!(got.len(), 5500);
}

#[tokio::test]
async fn a_full_queue_refuses_and_goes_on_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.queue_max_records = 10;
    let queue = gochat_infra::mq::Queue::open_embedded(config).unwrap();
    let producer = queue.producer();
    // The log's thread waits inside of the first callback, so what follows piles up.
    let (hold, held) = std::sync::mpsc::channel::<()>();
    let (inside, entered) = std::sync::mpsc::channel::<()>();
    producer
        .send(to(WORK, 0, "first"), move |_| {
            inside.send(()).unwrap();
            held.recv().unwrap();
        })
        .unwrap();
    entered.recv_timeout(PATIENCE).unwrap();
    let taken = (0..50).filter(|n| producer.send(to(WORK, 0, format!("{n}")), |_| {}).is_ok()).count();
    assert_eq!(taken, 10);
    assert_eq!(producer.send(to(WORK, 0, "x"), |_| panic!("was refused")), Err(SendError::QueueFull));
    hold.send(()).unwrap();
    let mut consumer = consumer(&queue, "logic", &[WORK]).await;
    assert_eq!(read(&mut consumer, 11).await.len(), 11);
    assert_eq!(send(&producer, to(WORK, 0, "again")).unwrap().offset, 11);
}

/// What a sender does with an answer is its own affair.
#[test]
fn an_answer_that_panics_or_closes_the_queue_does_no_harm() {
    let dir = tempfile::tempdir().unwrap();
    {
        let queue = open(dir.path());
        let producer = queue.producer();
        producer.send(to(WORK, 0, "a"), |_| panic!("as meant")).unwrap();
        send(&producer, to(WORK, 0, "b")).unwrap();
        let (tell, told) = std::sync::mpsc::channel();
        let last = producer.clone();
        drop((queue, producer));
        last.clone()
            .send(to(WORK, 0, "c"), move |outcome| {
                drop(last);
                tell.send(outcome).unwrap();
            })
            .unwrap();
        assert_eq!(told.recv_timeout(PATIENCE).unwrap().unwrap().offset, 2);
    }
    let begun = std::time::Instant::now();
    let queue = loop {
        // The log's thread may still hold the folder for a moment.
        match gochat_infra::mq::Queue::open_embedded(config(dir.path())) {
            Ok(queue) => break queue,
            Err(error) => assert!(begun.elapsed() < PATIENCE, "{error}"),
        }
    };
    assert_eq!(send(&queue.producer(), to(WORK, 0, "d")).unwrap().offset, 3);
}

/// Other tasks of the same thread get their turn while a consumer works through what is there.
#[tokio::test]
async fn a_consumer_that_never_waits_lets_others_run() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    send_all(&queue.producer(), (0..2000).map(|n| to(WORK, n % 4, format!("{n}"))));
    settle(&queue.producer());
    let bounds = ConsumerConfig { max_records: 1, max_bytes: 1 };
    let mut consumer = queue.consumer("logic", &[WORK], bounds).unwrap();
    let turns = std::sync::Arc::new(std::sync::atomic::AtomicU32::new(0));
    let counted = turns.clone();
    let other = tokio::spawn(async move {
        loop {
            counted.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            tokio::task::yield_now().await;
        }
    });
    next(&mut consumer).await;
    for _ in 0..2000 {
        assert!(matches!(consumer.next().await, Event::Records(_)));
    }
    assert!(turns.load(std::sync::atomic::Ordering::Relaxed) >= 5);
    other.abort();
}
