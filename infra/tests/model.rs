//! Whatever is done in whatever order, a group gets exactly the records that were acknowledged and that it has
//! not committed, in order: held against a model by random histories of sends, reads, commits, seeks, copies and
//! restarts; and of a disk that is full at times.

#[path = "support/disk.rs"]
mod disk;
mod support;

use disk::Disk;
use gochat_infra::mq::{Consumer, ConsumerConfig, EmbeddedConfig, Event, Queue, Record, SendError};
use proptest::prelude::*;
use support::*;

#[derive(Debug, Clone)]
enum Step {
    /// So many records of this length, at once.
    Send {
        lane: usize,
        count: usize,
        length: usize,
    },
    /// Reads everything that is there.
    Read,
    /// Commits this many hundredths of what was read.
    Commit {
        lane: usize,
        share: u64,
    },
    /// Reads again from the commit.
    SeekBack {
        lane: usize,
    },
    /// Puts a new consumer in force.
    TakeOver,
    /// Copies the queue, and reads the copy.
    Copy,
    Restart,
    /// Leaves this much room on the disk.
    Fill {
        leave: u64,
    },
    Free,
}

const LANES: [(&str, u32); 3] = [(WORK, 0), (WORK, 3), (OTHER, 0)];

fn step() -> impl Strategy<Value = Step> {
    let lane = 0..LANES.len();
    prop_oneof![
        6 => (lane.clone(), 1usize..60, 0usize..2000).prop_map(|(lane, count, length)| Step::Send { lane, count, length }),
        3 => Just(Step::Read),
        3 => (lane.clone(), 0u64..=100).prop_map(|(lane, share)| Step::Commit { lane, share }),
        1 => lane.prop_map(|lane| Step::SeekBack { lane }),
        1 => Just(Step::TakeOver),
        1 => Just(Step::Copy),
        1 => Just(Step::Restart),
    ]
}

fn step_on_a_disk() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => step(),
        2 => (0u64..200_000).prop_map(|leave| Step::Fill { leave }),
        1 => Just(Step::Free),
    ]
}

/// What should be there.
#[derive(Default)]
struct Lane {
    /// The values by offset.
    sent: Vec<Vec<u8>>,
    read: u64,
    committed: u64,
}

struct World {
    dir: tempfile::TempDir,
    /// Where the queue is instead, when it is on a small disk.
    disk: Option<Disk>,
    /// The room that is left on it.
    room: Option<u64>,
    queue: Option<Queue>,
    consumer: Option<Consumer>,
    lanes: Vec<Lane>,
}

fn small(dir: &std::path::Path) -> EmbeddedConfig {
    EmbeddedConfig { cache_max_bytes: 10_000, offsets_flush_ms: 0, ..config(dir) }
}

const BOUNDS: ConsumerConfig = ConsumerConfig { max_records: 50, max_bytes: 20_000 };

impl World {
    async fn new(disk: Option<Disk>) -> World {
        let dir = tempfile::tempdir().unwrap();
        let mut world = World { dir, disk, room: None, queue: None, consumer: None, lanes: Vec::new() };
        world.queue = Some(Queue::open_embedded(small(&world.path())).unwrap());
        world.lanes.resize_with(LANES.len(), Lane::default);
        world.begin().await;
        world
    }

    fn path(&self) -> std::path::PathBuf {
        self.disk.as_ref().map_or(self.dir.path(), Disk::path).join("queue")
    }

    fn set_room(&mut self, room: Option<u64>) {
        self.room = room;
        if let Some(disk) = &self.disk {
            room.map_or_else(|| disk.free(), |leave| disk.fill(leave));
        }
    }

    fn queue(&self) -> &Queue {
        self.queue.as_ref().unwrap()
    }

    fn consumer(&mut self) -> &mut Consumer {
        self.consumer.as_mut().unwrap()
    }

    /// A new consumer begins at the commits.
    async fn begin(&mut self) {
        self.consumer = Some(self.queue().consumer("logic", &[WORK, OTHER], BOUNDS).unwrap());
        assert!(matches!(next(self.consumer()).await, Event::Assigned(_)));
        self.lanes.iter_mut().for_each(|lane| lane.read = lane.committed);
    }

    async fn run(&mut self, step: &Step) {
        match *step {
            Step::Send { lane, count, length } => self.send(lane, count, length),
            Step::Read => self.read().await,
            Step::Commit { lane, share } => {
                let (topic, partition) = LANES[lane];
                let lane = &mut self.lanes[lane];
                lane.committed += (lane.read - lane.committed) * share / 100;
                let committed = lane.committed;
                self.consumer().commit(&tp(topic, partition), committed);
            }
            Step::SeekBack { lane } => {
                let (topic, partition) = LANES[lane];
                let lane = &mut self.lanes[lane];
                lane.read = lane.committed;
                let committed = lane.committed;
                self.consumer().seek(&tp(topic, partition), committed);
            }
            Step::TakeOver => self.begin().await,
            Step::Copy => self.copy().await,
            Step::Fill { leave } => self.set_room(Some(leave)),
            Step::Free => self.set_room(None),
            Step::Restart => {
                // The commits of a clean end are exact only where they can be written.
                let room = self.room;
                self.set_room(None);
                self.queue().close();
                assert!(matches!(next_of(self.consumer()).await, Event::Revoked(_)));
                // The folder is free when the last handle is gone.
                (self.consumer, self.queue) = (None, None);
                self.set_room(room);
                self.queue = Some(Queue::open_embedded(small(&self.path())).unwrap());
                self.begin().await;
            }
        }
    }

    fn send(&mut self, lane: usize, count: usize, length: usize) {
        let (topic, partition) = LANES[lane];
        let held = &mut self.lanes[lane].sent;
        let first = held.len();
        let values: Vec<Vec<u8>> = (first..first + count)
            .map(|n| n.to_le_bytes().into_iter().chain(std::iter::repeat_n(lane as u8, length)).collect())
            .collect();
        let records = values.iter().map(|value| to(topic, partition, value.clone()));
        let outcomes = send_each(&self.queue.as_ref().unwrap().producer(), records);
        for (outcome, value) in outcomes.into_iter().zip(values) {
            match outcome {
                Ok(position) => {
                    assert_eq!(position.offset, held.len() as u64);
                    held.push(value);
                }
                Err(SendError::Storage(_)) => assert!(self.room.is_some(), "refused though there is room"),
                Err(error) => panic!("{error}"),
            }
        }
    }

    /// A copy has what is not committed at this moment, and nothing else.
    async fn copy(&mut self) {
        let copies = tempfile::tempdir().unwrap();
        let path = copies.path().join("copy");
        self.queue().copy_to(&path).unwrap();
        let copy = Queue::open_embedded(small(&path)).unwrap();
        let mut group = copy.consumer("logic", &[WORK, OTHER], BOUNDS).unwrap();
        assert!(matches!(next(&mut group).await, Event::Assigned(_)));
        let mut at: Vec<u64> = self.lanes.iter().map(|lane| lane.committed).collect();
        let left: u64 = self.lanes.iter().map(|lane| lane.sent.len() as u64 - lane.committed).sum();
        assert_eq!(group.lag(), left);
        for record in read(&mut group, left as usize).await {
            let lane = lane_of(&record);
            assert_eq!(record.offset, at[lane]);
            assert!(record.value == self.lanes[lane].sent[at[lane] as usize]);
            at[lane] += 1;
        }
    }

    /// Everything that is there comes, in order, and nothing else.
    async fn read(&mut self) {
        let left: usize = self.lanes.iter().map(|lane| lane.sent.len() - lane.read as usize).sum();
        for record in read(self.consumer(), left).await {
            let lane = &mut self.lanes[lane_of(&record)];
            assert_eq!(record.offset, lane.read);
            assert!(record.value == lane.sent[lane.read as usize]);
            lane.read += 1;
        }
    }
}

fn lane_of(record: &Record) -> usize {
    LANES.iter().position(|lane| *lane == (record.topic, record.partition)).unwrap()
}

/// The event after whatever was there to read.
async fn next_of(consumer: &mut Consumer) -> Event {
    loop {
        match next(consumer).await {
            Event::Records(_) => {}
            other => return other,
        }
    }
}

fn hold(steps: &[Step], disk: Option<Disk>) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut world = World::new(disk).await;
        for step in steps {
            world.run(step).await;
        }
        world.run(&Step::Free).await;
        world.run(&Step::Restart).await;
        world.read().await;
        let lag: u64 = world.lanes.iter().map(|lane| lane.sent.len() as u64 - lane.committed).sum();
        assert_eq!(world.consumer().lag(), lag);
        // There is room: it is taken again by itself.
        world.send(0, 3, 10);
    });
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(12))]

    #[test]
    fn a_group_gets_exactly_what_was_acknowledged(steps in prop::collection::vec(step(), 1..60)) {
        hold(&steps, None);
    }
}

#[test]
fn and_so_it_does_from_a_disk_that_is_full_at_times() {
    let on = || Disk::for_test("and_so_it_does_from_a_disk_that_is_full_at_times", "16m");
    if on().is_none() {
        return;
    }
    proptest!(cases(24), |(steps in prop::collection::vec(step_on_a_disk(), 1..60))| {
        let disk = on().unwrap();
        disk.clear();
        hold(&steps, Some(disk));
    });
}
