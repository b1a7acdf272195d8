//! Promise: every bound of the service holds; what is over it stays in the queue, is counted, and is done later.
//!
//! Method: scripted tasks that wait at a door, so that the bound is reached and nothing leaves.
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Semaphore;

use super::{Bench, Script, quick};
use crate::TaskConfig;
use crate::jobs::Turn;

/// Where tasks wait, and how many are in their turn.
#[derive(Clone)]
struct Door {
    open: Arc<Semaphore>,
    inside: Arc<AtomicUsize>,
    inside_max: Arc<AtomicUsize>,
}

impl Door {
    fn closed() -> Door {
        let zero = || Arc::new(AtomicUsize::new(0));
        Door { open: Arc::new(Semaphore::new(0)), inside: zero(), inside_max: zero() }
    }

    fn open(&self) {
        self.open.add_permits(1000);
    }

    /// One turn, which ends when the door is open.
    fn script(&self) -> Script {
        let door = self.clone();
        Box::new(move || {
            let door = door.clone();
            Box::pin(async move {
                let inside = door.inside.fetch_add(1, Ordering::Relaxed) + 1;
                door.inside_max.fetch_max(inside, Ordering::Relaxed);
                door.open.acquire().await.unwrap().forget();
                door.inside.fetch_sub(1, Ordering::Relaxed);
                Turn::Done
            })
        })
    }

    fn inside_max(&self) -> u64 {
        self.inside_max.load(Ordering::Relaxed) as u64
    }
}

/// Ten tasks of ten keys and 104 bytes, of which so many may be held or in their turn.
async fn check(bound: &str, config: TaskConfig, held: u64, inside: u64) {
    let (bench, door) = (Bench::open(), Door::closed());
    for n in 0..10 {
        bench.send(format!("key{n}"), "x".repeat(100)).await;
    }
    let task = {
        let door = door.clone();
        bench.start(config, move |_| Ok(door.script()))
    };
    let full = format!(r#"task_full_total{{bound="{bound}"}}"#);
    bench.until(|| bench.metric(&full) == 1 && door.inside_max() == inside).await;
    assert_eq!((bench.metric("task_held"), bench.metric("task_lanes")), (held, held), "{bound}");
    assert_eq!(bench.metric("task_held_bytes"), 104 * held, "{bound}");
    // Also what came when nothing more was taken.
    bench.send("late", "x".repeat(100)).await;
    bench.until(|| bench.metric("task_lag_records") >= 11).await;
    door.open();
    bench.done(11).await;
    assert_eq!(door.inside_max(), inside, "{bound}");
    bench.until(|| bench.metric("task_held_bytes") == 0 && bench.metric("task_lag_records") == 0).await;
    bench.stop(task).await;
}

#[tokio::test]
async fn no_more_tasks_are_held_than_may_be() {
    let many = || TaskConfig { turns_at_once: 100, ..quick() };
    let tasks = TaskConfig { batch_records: 2, held_max_tasks: 5, ..many() };
    check("held_tasks", tasks.clone(), 4, 4).await;
    // Of the four, one after the other has its turn.
    check("held_tasks", TaskConfig { turns_at_once: 1, ..tasks }, 4, 1).await;
    let bytes = TaskConfig { batch_records: 1, batch_bytes: 200, held_max_bytes: 500, ..many() };
    check("held_bytes", bytes, 3, 3).await;
}

#[tokio::test]
async fn a_partition_does_not_run_far_ahead_of_a_task_that_stands() {
    let (bench, door) = (Bench::open(), Door::closed());
    bench.send("stands", "stands").await;
    for n in 0..30 {
        bench.send(format!("key{n}"), "goes").await;
    }
    let config = TaskConfig { batch_records: 2, held_max_tasks: 4, ahead_max_tasks: 5, ..quick() };
    let task = {
        let (stands, goes) = (door.clone(), Door::closed());
        goes.open();
        bench.start(config, move |value| Ok(if value == "stands" { stands.script() } else { goes.script() }))
    };
    bench.until(|| bench.metric("task_paused_partitions") == 1 && bench.metric("task_held") == 1).await;
    assert_eq!(bench.metric(r#"task_full_total{bound="ahead_tasks"}"#), 1);
    // The bound, and what was held when it was reached.
    let ahead = bench.metric("task_ahead");
    assert!((5..=5 + 3).contains(&ahead), "{ahead}");
    // None can be committed. The last one may be confirmed before it is seen in the queue.
    bench.until(|| bench.metric("task_lag_records") >= 31).await;
    door.open();
    bench.done(31).await;
    bench.until(|| bench.metric("task_lag_records") == 0 && bench.metric("task_ahead") == 0).await;
    assert_eq!(bench.metric("task_paused_partitions"), 0);
    bench.stop(task).await;
}

#[tokio::test]
async fn regular_tasks_that_the_queue_does_not_take_are_counted() {
    let bench = Bench::open();
    bench.queue.close();
    let task = bench.start(quick(), |_| panic!("nothing is in the queue"));
    bench.until(|| bench.metric("task_schedule_refused_total") == 3).await;
    bench.stop(task).await;
}
