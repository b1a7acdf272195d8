//! What was acknowledged is there after the process was killed at any moment, whole and at its offset; what a
//! broken disk can't promise is never acknowledged; a full disk refuses and recovers.
//!
//! The processes that die are this test binary started again with a role in its environment.

mod support;

use std::collections::{BTreeMap, HashMap};
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use gochat_infra::mq::{EmbeddedConfig, FatalHandler, Queue, SendError};
use support::*;

const ROLE: &str = "GOCHAT_TEST_ROLE";
const DIR: &str = "GOCHAT_TEST_DIR";

/// A value that shows when a part of it is missing or another's.
fn value(n: u64) -> String {
    let letter = char::from(b'a' + (n % 26) as u8);
    format!("{n}:{}:{n}", letter.to_string().repeat(n as usize % 700))
}

/// Entered by the started processes; in the test run itself there is nothing to do here.
#[test]
fn role() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let dir = std::env::var(DIR).unwrap();
    // The harness has begun a line of its own.
    say(String::new());
    match role.as_str() {
        "writer" => write_until_killed(Path::new(&dir)),
        "broken disk" => write_on_a_broken_disk(Path::new(&dir)),
        "full disk" => write_on_a_full_disk(Path::new(&dir)),
        other => panic!("no role {other}"),
    }
}

fn this_test() -> (std::path::PathBuf, [&'static str; 4]) {
    (std::env::current_exe().unwrap(), ["--exact", "role", "--nocapture", "--test-threads=1"])
}

fn start(mut command: Command, role: &str, dir: &Path) -> Child {
    command.env(ROLE, role).env(DIR, dir).stdout(Stdio::piped()).spawn().unwrap()
}

fn say(line: String) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "{line}").unwrap();
    out.flush().unwrap();
}

fn config_of(dir: &Path) -> EmbeddedConfig {
    EmbeddedConfig { queue_max_records: 200, ..config(dir) }
}

/// Four threads send as fast as they can and say what was acknowledged.
fn write_until_killed(dir: &Path) {
    let queue = Queue::open_embedded(config_of(dir)).unwrap();
    let threads: Vec<_> = (0..4)
        .map(|lane| {
            let producer = queue.producer();
            std::thread::spawn(move || {
                for n in 0u64.. {
                    let sent = producer.send(to(WORK, lane, value(n)), move |outcome| {
                        say(format!("ack {lane} {} {n}", outcome.unwrap().offset));
                    });
                    match sent {
                        Ok(()) => {}
                        Err(SendError::QueueFull) => std::thread::yield_now(),
                        Err(error) => panic!("{error}"),
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
}

/// The acknowledgements in a process's output, by partition and offset. A last line may be cut short.
fn acks(line: &str) -> Option<((u32, u64), u64)> {
    let mut words = line.strip_prefix("ack ")?.split(' ');
    let mut number = || words.next()?.parse().ok();
    Some(((number()? as u32, number()?), number()?))
}

/// Everything in the log, read by a group that is new to it; offsets must be without gaps.
async fn all(dir: &Path, group: &str) -> BTreeMap<(u32, u64), String> {
    let queue = Queue::open_embedded(config_of(dir)).unwrap();
    let mut consumer = consumer(&queue, group, &[WORK]).await;
    let count = consumer.lag() as usize;
    let mut next = HashMap::new();
    let mut found = BTreeMap::new();
    for record in read(&mut consumer, count).await {
        let expected = next.entry(record.partition).or_insert(0);
        assert_eq!(record.offset, *expected);
        *expected += 1;
        found.insert((record.partition, record.offset), text(&record));
    }
    found
}

#[tokio::test]
async fn killed_in_the_middle_of_appending_it_has_every_acknowledged_record() {
    let dir = tempfile::tempdir().unwrap();
    let mut acknowledged = BTreeMap::new();
    for round in 0..3u64 {
        let (program, args) = this_test();
        let mut command = Command::new(program);
        command.args(args);
        let mut child = start(command, "writer", dir.path());
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let enough = 300 + 700 * round;
        let mut count = 0;
        for line in lines.by_ref() {
            if let Some((place, n)) = acks(&line.unwrap()) {
                assert_eq!(acknowledged.insert(place, value(n)), None, "an offset was given twice");
                count += 1;
            }
            if count == enough {
                child.kill().unwrap();
                break;
            }
        }
        // What it said before it died counts too; the last line may be half of one.
        let rest: Vec<String> = lines.map_while(Result::ok).collect();
        let whole = rest.len().saturating_sub(1);
        acknowledged.extend(rest[..whole].iter().filter_map(|line| acks(line)).map(|(at, n)| (at, value(n))));
        child.wait().unwrap();
        let found = all(dir.path(), &format!("round {round}")).await;
        for (place, value) in &acknowledged {
            assert_eq!(found.get(place), Some(value), "{place:?} was acknowledged");
        }
        for (place, text) in &found {
            let n = text.split(':').next().unwrap().parse().unwrap();
            assert_eq!(*text, value(n), "{place:?} is torn");
        }
        // Unacknowledged records that reached the disk stay where they are, too.
        acknowledged = found;
    }
    assert!(acknowledged.len() >= 3000, "{}", acknowledged.len());
}

#[test]
fn after_a_failed_fsync_nothing_is_acknowledged() {
    let dir = tempfile::tempdir().unwrap();
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let mut config = config(dir.path());
    config.fault_fsync_at = 3;
    let told = reasons.clone();
    config.on_fatal = FatalHandler(Arc::new(move |reason| told.lock().unwrap().push(reason.to_owned())));
    let queue = Queue::open_embedded(config).unwrap();
    let producer = queue.producer();
    assert!(send(&producer, to(WORK, 0, "1")).is_ok());
    assert!(send(&producer, to(WORK, 0, "2")).is_ok());
    assert!(matches!(send(&producer, to(WORK, 0, "3")), Err(SendError::Storage(_))));
    for _ in 0..10 {
        assert_eq!(send(&producer, to(WORK, 0, "4")), Err(SendError::Closed));
    }
    queue.close();
    let reasons = reasons.lock().unwrap();
    assert_eq!(reasons.len(), 1);
    assert!(reasons[0].contains("fsync of") && reasons[0].contains(".log"), "{}", reasons[0]);
}

fn write_on_a_broken_disk(dir: &Path) {
    let queue = Queue::open_embedded(EmbeddedConfig { fault_fsync_at: 6, ..config(dir) }).unwrap();
    let producer = queue.producer();
    for n in 0..20 {
        let outcome = send(&producer, to(WORK, 0, value(n)));
        say(format!("ack 0 {} {n}", outcome.unwrap().offset));
    }
}

#[tokio::test]
async fn a_failed_fsync_ends_the_process() {
    let dir = tempfile::tempdir().unwrap();
    let (program, args) = this_test();
    let mut command = Command::new(program);
    command.args(args).stderr(Stdio::piped());
    let ended = start(command, "broken disk", dir.path()).wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(74));
    assert!(String::from_utf8_lossy(&ended.stderr).contains("fsync of"));
    let said = String::from_utf8(ended.stdout).unwrap();
    assert_eq!(said.lines().filter_map(acks).count(), 5);
    let found = all(dir.path(), "after").await;
    assert!((5..=6).contains(&found.len()), "{}", found.len());
}

/// The limit on file sizes stands for a disk without room: the write fails after a part of it was done.
fn write_on_a_full_disk(dir: &Path) {
    let mut config = config(dir);
    config.segment_bytes = 4 << 20;
    let queue = Queue::open_embedded(config).unwrap();
    let producer = queue.producer();
    let send_and_say = |n| match send(&producer, to(WORK, 0, value(n))) {
        Ok(position) => {
            say(format!("ack 0 {} {n}", position.offset));
            true
        }
        Err(SendError::Storage(reason)) => {
            assert!(reason.contains("large"), "{reason}");
            false
        }
        Err(error) => panic!("{error}"),
    };
    let full = (0..).find(|n| !send_and_say(*n)).unwrap();
    // Short ones may still fit into the last corner; long ones don't.
    assert!(!(0..20).any(|i| send_and_say(full + 700 * i + 699 - full % 700)));
    let pid = std::process::id().to_string();
    let raised = Command::new("prlimit").args(["--pid", &pid, "--fsize=unlimited:unlimited"]).status();
    assert!(raised.unwrap().success());
    assert!((1..200).all(|i| send_and_say(1_000_000 + i)));
    queue.close();
}

#[tokio::test]
async fn a_full_disk_refuses_and_takes_records_again_when_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (program, args) = this_test();
    let mut command = Command::new("sh");
    // Blocks of 512 bytes: files up to 100 KiB. Without the trap the signal would end the process.
    command.args(["-c", "trap '' XFSZ; ulimit -S -f 200; exec \"$0\" \"$@\""]).arg(program).args(args);
    let mut child = start(command, "full disk", dir.path());
    let mut said = String::new();
    child.stdout.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(child.wait().unwrap().success(), "{said}");
    let acknowledged: BTreeMap<_, _> =
        said.lines().filter_map(acks).map(|(place, n)| (place, value(n))).collect();
    assert!(acknowledged.len() > 250, "{}", acknowledged.len());
    // Not assert_eq: both are long.
    assert!(all(dir.path(), "after").await == acknowledged);
}
