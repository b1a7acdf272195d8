//! Promise: what is acknowledged or shown outlives a power loss: the name of every folder and file is synced before
//! anything in it counts, and so is what was found at the start.
//!
//! Method: a kill leaves the page cache, so that only the calls can be seen: each folder or file that is synced is noted
//! by the thread that opens the queue.
use std::cell::RefCell;
use std::path::{Path, PathBuf};

use super::{EmbeddedConfig, Outgoing, Queue, Target, TopicConfig};

thread_local! {
    static SYNCED: RefCell<Vec<PathBuf>> = const { RefCell::new(Vec::new()) };
}

/// Notes that this was synced.
pub(super) fn note(path: &Path) {
    SYNCED.with_borrow_mut(|synced| synced.push(path.to_owned()));
}

/// Opens the queue and says what was synced until it was open.
fn open(dir: &Path) -> (Queue, Vec<PathBuf>) {
    SYNCED.take();
    let topics = vec![TopicConfig::durable("work", 1), TopicConfig::kept("kept", 1, 1 << 40, 1 << 30)];
    let config = EmbeddedConfig { dir: dir.to_owned(), topics, ..EmbeddedConfig::default() };
    (Queue::open_embedded(config).unwrap(), SYNCED.take())
}

async fn send(queue: &Queue, value: &'static str) {
    let record =
        Outgoing { topic: "work", target: Target::Partition(0), key: "".into(), value: value.into() };
    queue.producer().send_wait(record).await.unwrap();
}

#[test]
fn every_folder_that_is_made_has_its_name_synced() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("data").join("queue");
    let names =
        [temp.path().to_owned(), temp.path().join("data"), dir.clone(), dir.join("work"), dir.join("kept")];
    let (queue, synced) = open(&dir);
    for folder in &names {
        assert!(synced.contains(folder), "{folder:?} of {synced:?}");
    }
    queue.close();
    drop(queue);
    // Killed between making a folder and syncing its name, the next start has to do it.
    let (_queue, synced) = open(&dir);
    for folder in &names[1..3] {
        assert!(synced.contains(folder), "{folder:?} of {synced:?}");
    }
}

#[tokio::test]
async fn what_is_found_at_the_start_is_synced_before_it_is_shown() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("queue");
    let (queue, _) = open(&dir);
    send(&queue, "one").await;
    send(&queue, "two").await;
    queue.close();
    drop(queue);
    let segment = dir.join("work").join(format!("{:020}.log", 1));
    let before = std::fs::read(&segment).unwrap();
    let (queue, synced) = open(&dir);
    assert!(synced.contains(&segment), "{synced:?}");
    assert_eq!(std::fs::read(&segment).unwrap(), before, "written again as it was");
    assert_eq!(queue.read("work", 0, 0, 10, usize::MAX).await.unwrap().len(), 2);
}
