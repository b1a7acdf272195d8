//! A write cut short at the very end is cut off; damage anywhere else is refused by file and place, and
//! nothing is changed. What contradicts the configuration is refused too.

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use gochat_infra::mq::{EmbeddedConfig, Queue, QueueError, TopicConfig};
use support::*;

/// A log of batches with one record each: "0", "1", …; returns where each batch ends in the last segment's file.
fn write(dir: &Path, count: u32) -> Vec<(PathBuf, u64)> {
    let queue = open(dir);
    let producer = queue.producer();
    let mut ends = Vec::new();
    for n in 0..count {
        send(&producer, to(WORK, 0, format!("{n}{}", " ".repeat(500)))).unwrap();
        let path = segments(dir).pop().unwrap();
        ends.push((path.clone(), end_of(&path)));
    }
    ends
}

fn segments(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<PathBuf> =
        fs::read_dir(dir.join("work")).unwrap().map(|e| e.unwrap().path()).collect();
    paths.sort();
    paths
}

/// The last byte that isn't zero, rounded up: records here end with a space.
fn end_of(path: &Path) -> u64 {
    fs::read(path).unwrap().iter().rposition(|byte| *byte != 0).unwrap() as u64 + 1
}

fn copy(from: &Path) -> tempfile::TempDir {
    let to = tempfile::tempdir().unwrap();
    fs::create_dir(to.path().join("work")).unwrap();
    for path in segments(from) {
        fs::copy(&path, to.path().join("work").join(path.file_name().unwrap())).unwrap();
    }
    for name in ["topics.json", "commits.json"] {
        if from.join(name).exists() {
            fs::copy(from.join(name), to.path().join(name)).unwrap();
        }
    }
    to
}

fn edit(path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
    let mut bytes = fs::read(path).unwrap();
    change(&mut bytes);
    fs::write(path, bytes).unwrap();
}

async fn count(dir: &Path) -> usize {
    let queue = open(dir);
    let mut consumer = consumer(&queue, "count", &[WORK]).await;
    let records = read(&mut consumer, consumer_lag(&queue).await).await;
    for (n, record) in records.iter().enumerate() {
        assert_eq!(text(record).trim_end(), n.to_string());
    }
    // And it can be written on.
    assert_eq!(send(&queue.producer(), to(WORK, 0, "more")).unwrap().offset, records.len() as u64);
    records.len()
}

async fn consumer_lag(queue: &Queue) -> usize {
    consumer(queue, "lag", &[WORK]).await.lag() as usize
}

fn refused(dir: &Path) -> (PathBuf, u64, String) {
    let before: Vec<_> = segments(dir).iter().map(|path| fs::read(path).unwrap()).collect();
    let error = Queue::open_embedded(config(dir)).unwrap_err();
    let sentence = error.to_string();
    let after: Vec<_> = segments(dir).iter().map(|path| fs::read(path).unwrap()).collect();
    assert!(before == after, "a refused log was changed");
    match error {
        QueueError::Damaged { path, at, .. } => {
            assert!(sentence.contains(path.to_str().unwrap()) && sentence.contains(&at.to_string()));
            (path, at, sentence)
        }
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_tail_cut_anywhere_costs_only_the_last_batch() {
    let dir = tempfile::tempdir().unwrap();
    let ends = write(dir.path(), 6);
    let (path, end) = ends[5].clone();
    let begin = ends[4].1;
    let name = path.file_name().unwrap();
    for cut in (begin..end).step_by(67).chain(end - 2..end) {
        let torn = copy(dir.path());
        let file = torn.path().join("work").join(name);
        edit(&file, |bytes| bytes.truncate(cut as usize));
        assert_eq!(count(torn.path()).await, 5, "cut at {cut}");
        // The same, with the zeros that were written ahead still behind it.
        let torn = copy(dir.path());
        let file = torn.path().join("work").join(name);
        edit(&file, |bytes| bytes[cut as usize..end as usize].fill(0));
        assert_eq!(count(torn.path()).await, 5, "zeroed from {cut}");
        assert_eq!(count_again(torn.path()).await, 6);
    }
    assert_eq!(count(dir.path()).await, 6);
}

/// What was written after a cut is read like anything else.
async fn count_again(dir: &Path) -> usize {
    let queue = open(dir);
    consumer_lag(&queue).await
}

#[tokio::test]
async fn garbage_behind_the_end_is_cut_off() {
    let dir = tempfile::tempdir().unwrap();
    let (path, end) = write(dir.path(), 6).pop().unwrap();
    let name = path.file_name().unwrap();
    for length in [1, 31, 32, 33, 1000, 40_000] {
        let torn = copy(dir.path());
        edit(&torn.path().join("work").join(name), |bytes| {
            bytes.truncate(end as usize);
            bytes.extend((0..length).map(|n: u32| (n.wrapping_mul(2_654_435_761) >> 13) as u8 | 1));
        });
        assert_eq!(count(torn.path()).await, 6, "{length} bytes of garbage");
    }
}

#[tokio::test]
async fn a_record_that_looks_like_a_batch_is_not_taken_for_one() {
    let dir = tempfile::tempdir().unwrap();
    let (path, end) = write(dir.path(), 3).pop().unwrap();
    // A header of a later batch with a right checksum, but not this segment's salt.
    let mut header = Vec::from(*b"GCB\x01");
    header.extend(0u32.to_le_bytes());
    header.extend(900u64.to_le_bytes());
    header.extend([0; 12]);
    header.extend(crc32fast::hash(&header).to_le_bytes());
    edit(&path, |bytes| {
        bytes.truncate(end as usize);
        bytes.extend([7; 100]);
        bytes.extend(&header);
    });
    assert_eq!(count(dir.path()).await, 3);
}

#[test]
fn a_flipped_bit_before_the_last_batch_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ends = write(dir.path(), 6);
    let name = ends[5].0.file_name().unwrap();
    for (batch, end) in ends[1..5].iter().map(|(_, end)| *end).enumerate() {
        let begin = ends[batch].1;
        for place in [begin, begin + 5, begin + 40, end - 1] {
            let bad = copy(dir.path());
            let file = bad.path().join("work").join(name);
            edit(&file, |bytes| bytes[place as usize] ^= 4);
            let (path, at, sentence) = refused(bad.path());
            assert_eq!((path, at), (file, begin), "{sentence}");
        }
    }
}

#[test]
fn damage_in_an_older_segment_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let ends = write(dir.path(), 300);
    let files = segments(dir.path());
    assert!(files.len() >= 3);
    let older = &files[1];
    let name = older.file_name().unwrap();
    let last_end = ends.iter().filter(|(path, _)| path == older).map(|(_, end)| *end).max().unwrap();
    type Change = Box<dyn Fn(&mut Vec<u8>)>;
    let changes: Vec<(&str, Change)> = vec![
        ("its header", Box::new(|bytes| bytes[9] ^= 1)),
        ("its last byte", Box::new(move |bytes| bytes[last_end as usize - 1] ^= 1)),
        ("cut off", Box::new(move |bytes| bytes.truncate(last_end as usize - 1))),
        ("its last batch zeroed", Box::new(move |bytes| bytes[last_end as usize - 600..].fill(0))),
        ("something behind its end", Box::new(|bytes| bytes.extend([9; 50]))),
        ("emptied", Box::new(|bytes| bytes.clear())),
    ];
    for (what, change) in changes {
        let bad = copy(dir.path());
        let file = bad.path().join("work").join(name);
        edit(&file, change);
        let (path, _, sentence) = refused(bad.path());
        assert_eq!(path, file, "{what}: {sentence}");
    }
    let bad = copy(dir.path());
    fs::remove_file(bad.path().join("work").join(name)).unwrap();
    let (path, _, sentence) = refused(bad.path());
    assert_eq!(path.file_name(), files[0].file_name(), "{sentence}");
}

#[tokio::test]
async fn a_segment_that_was_being_made_is_forgotten() {
    let dir = tempfile::tempdir().unwrap();
    write(dir.path(), 3);
    fs::write(dir.path().join("work/00000000000000000004.tmp"), "half").unwrap();
    assert_eq!(count(dir.path()).await, 3);
    assert_eq!(segments(dir.path()).len(), 1);
}

#[tokio::test]
async fn commits_that_can_not_be_read_deliver_everything_again() {
    let dir = tempfile::tempdir().unwrap();
    {
        let queue = open(dir.path());
        send_all(&queue.producer(), (0..10).map(|n| to(WORK, 0, format!("{n}"))));
        let mut consumer = consumer(&queue, "logic", &[WORK]).await;
        read(&mut consumer, 10).await;
        consumer.commit(&tp(WORK, 0), 10);
        queue.close();
    }
    assert!(fs::read_to_string(dir.path().join("commits.json")).unwrap().contains("[10,0,0,0]"));
    fs::write(dir.path().join("commits.json"), "{\"logic\": {\"wor").unwrap();
    let queue = open(dir.path());
    let mut consumer = consumer(&queue, "logic", &[WORK]).await;
    assert_eq!(read(&mut consumer, 10).await.len(), 10);
}

#[test]
fn what_contradicts_the_configuration_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let queue = open(dir.path());
    let error = Queue::open_embedded(config(dir.path())).unwrap_err();
    assert!(matches!(&error, QueueError::Locked(path) if path == dir.path()), "{error}");
    drop(queue);
    let with = |change: &dyn Fn(&mut EmbeddedConfig)| {
        let mut config = config(dir.path());
        change(&mut config);
        Queue::open_embedded(config).map(drop)
    };
    let check = |change: &dyn Fn(&mut EmbeddedConfig), word: &str| {
        let error = with(change).unwrap_err().to_string();
        assert!(error.contains(word), "{error}");
    };
    check(&|config| config.topics.retain(|topic| topic.name != WORK), WORK);
    check(&|config| config.topics[0].partitions = 3, WORK);
    check(&|config| config.topics[0].partitions = 0, WORK);
    check(&|config| config.topics[0] = TopicConfig::kept(WORK, 4, 1, 1), WORK);
    check(&|config| config.topics.push(TopicConfig::memory(LIVE, 1)), "twice");
    check(&|config| config.batch_max_bytes = 10, "batch_max_bytes");
    check(&|config| config.segment_bytes = 10, "segment_bytes");
    with(&|config| config.topics[0].partitions = 5).unwrap();
    with(&|config| config.topics[0].partitions = 5).unwrap();
    check(&|_| {}, WORK);
}
