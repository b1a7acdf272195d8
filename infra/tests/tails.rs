//! A tail gets what comes after it was made, and is told when it was too slow.

mod support;

use gochat_infra::mq::{Queue, TailEvent};
use support::*;

async fn next(tail: &mut gochat_infra::mq::Tail) -> TailEvent {
    tokio::time::timeout(PATIENCE, tail.next()).await.expect("an event")
}

fn texts(event: TailEvent) -> Vec<String> {
    match event {
        TailEvent::Records(records) => records.iter().map(text).collect(),
        TailEvent::Lost(count) => panic!("lost {count}"),
    }
}

#[tokio::test]
async fn a_tail_begins_at_the_end() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let producer = queue.producer();
    for topic in [LIVE, WORK] {
        send(&producer, to(topic, 1, "before")).unwrap();
        settle(&producer);
        let mut tail = queue.tail(topic, 1).unwrap();
        assert_eq!(tail.position(), 1);
        send(&producer, to(topic, 0, "elsewhere")).unwrap();
        send_all(&producer, [to(topic, 1, "a"), to(topic, 1, "b")]);
        let mut got = texts(next(&mut tail).await);
        if got.len() == 1 {
            got.extend(texts(next(&mut tail).await));
        }
        assert_eq!(got, ["a", "b"]);
        assert!(tokio::time::timeout(std::time::Duration::ZERO, tail.next()).await.is_err());
        send(&producer, to(topic, 1, "c")).unwrap();
        assert_eq!(texts(next(&mut tail).await), ["c"]);
        assert_eq!(tail.position(), 4);
    }
    assert!(queue.tail(LIVE, 2).is_err());
    assert!(queue.tail("nothing", 0).is_err());
}

#[tokio::test]
async fn memory_is_bounded_and_a_slow_tail_is_told_how_many_it_lost() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.memory_max_records = 10;
    let queue = Queue::open_embedded(config).unwrap();
    let producer = queue.producer();
    let mut slow = queue.tail(LIVE, 0).unwrap();
    let mut quick = queue.tail(LIVE, 0).unwrap();
    for n in 0..25 {
        send(&producer, to(LIVE, 0, format!("{n}"))).unwrap();
        assert_eq!(texts(next(&mut quick).await), [format!("{n}")]);
    }
    assert_eq!(next(&mut slow).await, TailEvent::Lost(15));
    let rest: Vec<String> = (15..25).map(|n| n.to_string()).collect();
    assert_eq!(texts(next(&mut slow).await), rest);
}

/// A durable topic drops nothing: what left memory is read from the files.
#[tokio::test]
async fn a_slow_tail_of_a_durable_topic_loses_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let mut config = config(dir.path());
    config.cache_max_bytes = 1000;
    let queue = Queue::open_embedded(config).unwrap();
    let mut tail = queue.tail(WORK, 0).unwrap();
    send_all(&queue.producer(), (0..500).map(|n| to(WORK, 0, format!("{n}"))));
    let mut got = Vec::new();
    while got.len() < 500 {
        got.extend(texts(next(&mut tail).await));
    }
    assert!(got.iter().enumerate().all(|(n, text)| *text == n.to_string()));
}
