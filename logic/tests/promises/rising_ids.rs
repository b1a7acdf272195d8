//! Promise: message ids rise and messages are numbered densely, whatever the clock does. While no id can be drawn
//! messages wait, and none is lost.
//!
//! Method: a clock that the test sets back, also between two runs, and to a year that no id can carry.
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use crate::support::{House, unix_ms};
use gochat_infra::idgen::IdGen;

const PAIR: &str = "single_1_2";

#[tokio::test]
async fn a_clock_that_goes_back_changes_nothing() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let clock = Arc::new(AtomicI64::new(unix_ms()));
    let ids = || {
        let clock = clock.clone();
        IdGen::open_with_clock(3, house.path("ids-3"), move || clock.load(Ordering::SeqCst)).unwrap()
    };
    let mut last = 0;
    for (run, back_ms) in [0, 60_000, 3_600_000].into_iter().enumerate() {
        clock.fetch_sub(back_ms, Ordering::SeqCst);
        let running = house.start_with(house.config(), ids()).await;
        for n in 0..3 {
            let key = format!("m{run}-{n}");
            house.send(1, PAIR, &key, "text").await;
            let (id, seq) = inbox.stored(&key).await;
            assert!(id > last, "{id} came after {last}");
            assert_eq!(seq, run as u64 * 3 + n + 1);
            last = id;
            clock.fetch_sub(5000, Ordering::SeqCst);
        }
        running.stop().await;
    }
    house.dense(PAIR).await;
}

#[tokio::test]
async fn without_ids_messages_wait() {
    let house = House::open().await;
    house.seed_users(2).await;
    let mut inbox = house.inbox(0);
    let clock = Arc::new(AtomicI64::new(0));
    let read = clock.clone();
    let ids = IdGen::open_with_clock(3, house.path("ids-3"), move || read.load(Ordering::SeqCst)).unwrap();
    let running = house.start_with(house.config(), ids).await;
    house.send(1, PAIR, "a", "text").await;
    house.send(1, PAIR, "b", "text").await;
    while running.metric(r#"logic_pipeline_retries_total{reason="no-id"}"#) == 0.0 {
        tokio::task::yield_now().await;
    }
    assert!(house.stored(PAIR).await.is_empty());
    clock.store(unix_ms(), Ordering::SeqCst);
    assert_eq!(inbox.stored("a").await.1, 1);
    assert_eq!(inbox.stored("b").await.1, 2);
    running.stop().await;
}
