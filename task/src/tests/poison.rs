//! Promise: a task that always panics, or can't be wrapped whole, goes to the dead letters and its lane goes on; one that
//! only fails is tried for ever.
//!
//! Method: scripted tasks of one key, each behind the other.
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use super::{Bench, at_once, quick};
use crate::TaskConfig;
use crate::jobs::Turn;

#[tokio::test]
async fn a_task_that_always_panics_is_buried_and_its_lane_goes_on() {
    let bench = Bench::open();
    for value in ["in a turn", "while opened", "now and then", "good"] {
        bench.send("k", value).await;
    }
    let config = TaskConfig { panics_max: 3, ..quick() };
    let turns = Arc::new(AtomicU32::new(0));
    let task = bench.start(config, move |value| match value {
        "in a turn" => at_once(|| panic!("the {} is broken", "processor")),
        "while opened" => panic!("can't be opened"),
        // Failures between don't make up for panics.
        "now and then" => {
            let turns = turns.clone();
            at_once(move || match turns.fetch_add(1, Ordering::Relaxed) % 2 {
                0 => panic!("again"),
                _ => Turn::Retry("later".into()),
            })
        }
        _ => at_once(|| Turn::Done),
    });
    bench.done(1).await;
    let letters = bench.dead_letters().await;
    let seen: Vec<(&[u8], &str)> = letters.iter().map(|letter| (&*letter.value, &*letter.error)).collect();
    let panicked = |text| format!("it panicked 3 times, at last with: {text}");
    assert_eq!(
        seen,
        [
            (&b"in a turn"[..], &*panicked("the processor is broken")),
            (b"while opened", &panicked("can't be opened")),
            (b"now and then", &panicked("again")),
        ]
    );
    assert_eq!(bench.metric(r#"task_tasks_total{kind="scripted",outcome="panic"}"#), 6);
    assert_eq!(bench.metric(r#"task_tasks_total{kind="unknown",outcome="panic"}"#), 3);
    assert_eq!(bench.metric(r#"task_dead_letters_total{kind="scripted",reason="panicked"}"#), 2);
    // Nothing is left to be done again after a restart.
    bench.until(|| bench.metric("task_lag_records") == 0).await;
    bench.stop(task).await;
}

#[tokio::test]
async fn failures_are_no_end_and_progress_forgives_panics() {
    let bench = Bench::open();
    bench.send("k", "fails").await;
    bench.send("k", "panics between pages").await;
    let failures = Arc::new(AtomicU32::new(0));
    let turns = Arc::new(AtomicU32::new(0));
    let task = bench.start(TaskConfig { panics_max: 2, ..quick() }, move |value| {
        let (failures, turns) = (failures.clone(), turns.clone());
        match value {
            "fails" => at_once(move || match failures.fetch_add(1, Ordering::Relaxed) {
                0..100 => Turn::Retry("not now".into()),
                _ => Turn::Done,
            }),
            _ => at_once(move || match turns.fetch_add(1, Ordering::Relaxed) {
                10 => Turn::Done,
                turn if turn % 2 == 0 => panic!("it may work the next time"),
                _ => Turn::More,
            }),
        }
    });
    bench.done(2).await;
    assert!(bench.dead_letters().await.is_empty());
    assert_eq!(bench.metric(r#"task_tasks_total{kind="scripted",outcome="retry"}"#), 100);
    assert_eq!(bench.metric(r#"task_tasks_total{kind="scripted",outcome="panic"}"#), 5);
    bench.stop(task).await;
}

#[tokio::test]
async fn a_task_too_large_to_be_wrapped_is_kept_cut() {
    let bench = Bench::open();
    let value = "x".repeat((8 << 10) - 1);
    bench.send("k", value.clone()).await;
    bench.send("k", "good").await;
    let task = bench.start(quick(), |value| match value {
        "good" => at_once(|| Turn::Done),
        _ => at_once(|| Turn::Never("not this one".into())),
    });
    bench.done(1).await;
    let letter = bench.dead_letters().await.remove(0);
    assert_eq!(letter.error, format!("not this one ({} bytes, cut)", value.len()));
    assert_eq!(letter.value, value[..1024]);
    assert_eq!(bench.metric(r#"task_dead_letters_total{kind="scripted",reason="refused"}"#), 1);
    bench.stop(task).await;
}
