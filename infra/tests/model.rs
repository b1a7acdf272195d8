//! Whatever is done in whatever order, a group gets exactly the records that were acknowledged and that it has
//! not committed, in order: held against a model by random histories of sends, reads, commits, seeks and restarts.

mod support;

use gochat_infra::mq::{Consumer, ConsumerConfig, EmbeddedConfig, Event, Queue};
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
    Restart,
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
        1 => Just(Step::Restart),
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
    queue: Option<Queue>,
    consumer: Option<Consumer>,
    lanes: Vec<Lane>,
}

fn small(dir: &std::path::Path) -> EmbeddedConfig {
    EmbeddedConfig { cache_max_bytes: 10_000, offsets_flush_ms: 0, ..config(dir) }
}

const BOUNDS: ConsumerConfig = ConsumerConfig { max_records: 50, max_bytes: 20_000 };

impl World {
    async fn new() -> World {
        let dir = tempfile::tempdir().unwrap();
        let queue = Queue::open_embedded(small(dir.path())).unwrap();
        let mut world = World { dir, queue: Some(queue), consumer: None, lanes: Vec::new() };
        world.lanes.resize_with(LANES.len(), Lane::default);
        world.begin().await;
        world
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
            Step::Restart => {
                self.queue().close();
                assert!(matches!(next_of(self.consumer()).await, Event::Revoked(_)));
                // The folder is free when the last handle is gone.
                (self.consumer, self.queue) = (None, None);
                self.queue = Some(Queue::open_embedded(small(self.dir.path())).unwrap());
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
        let positions = send_all(&self.queue.as_ref().unwrap().producer(), records);
        assert!(positions.iter().map(|position| position.offset).eq(first as u64..(first + count) as u64));
        held.extend(values);
    }

    /// Everything that is there comes, in order, and nothing else.
    async fn read(&mut self) {
        let left: usize = self.lanes.iter().map(|lane| lane.sent.len() - lane.read as usize).sum();
        for record in read(self.consumer(), left).await {
            let at = LANES.iter().position(|lane| *lane == (record.topic, record.partition)).unwrap();
            let lane = &mut self.lanes[at];
            assert_eq!(record.offset, lane.read);
            assert!(record.value == lane.sent[lane.read as usize]);
            lane.read += 1;
        }
    }
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

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_group_gets_exactly_what_was_acknowledged(steps in prop::collection::vec(step(), 1..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let mut world = World::new().await;
            for step in &steps {
                world.run(step).await;
            }
            world.run(&Step::Restart).await;
            world.read().await;
            let lag: u64 = world.lanes.iter().map(|lane| lane.sent.len() as u64 - lane.committed).sum();
            assert_eq!(world.consumer().lag(), lag);
        });
    }
}
