//! The loop that owns the consumer: takes tasks while there is room, starts them, commits what is done.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use gochat_infra::mq::{Consumer, Event, Record, TopicPartition};
use gochat_infra::shutdown::Shutdown;
use tokio::task::{JoinError, JoinSet};

use crate::attempt::Attempts;
use crate::config::TaskConfig;
use crate::lanes::Lanes;
use crate::metrics::TaskMetrics;

/// How often the gauges are set while nothing else happens: the queue grows also while a bound keeps the loop from taking.
const SHOW_INTERVAL: Duration = Duration::from_secs(1);

/// All that the loop owns.
pub(crate) struct Consume {
    pub consumer: Consumer,
    pub attempts: Arc<Attempts>,
    pub lanes: Lanes,
    /// One for each key with tasks. Each gives its record back, and whether it is done.
    pub running: JoinSet<(Record, bool)>,
    /// Partitions with too much done ahead of one that is not.
    pub paused: BTreeSet<u32>,
    /// The bound for which no more tasks are taken.
    pub full: Option<&'static str>,
    pub config: TaskConfig,
    pub metrics: TaskMetrics,
    pub shutdown: Shutdown,
}

enum Next {
    Stop,
    Ended(Result<(Record, bool), JoinError>),
    Event(Event),
    Show,
}

impl Consume {
    /// Runs until the shutdown, and until the turns under way have ended.
    pub(crate) async fn run(mut self) {
        loop {
            match self.next().await {
                Next::Stop => break,
                Next::Ended(ended) => self.ended(ended),
                Next::Event(Event::Records(records)) => {
                    for record in records {
                        let startable = self.lanes.add(record);
                        self.start(startable);
                    }
                }
                Next::Event(Event::Assigned(_)) => {}
                Next::Event(Event::Revoked(_)) => self.revoked().await,
                Next::Show => {}
            }
            self.show();
        }
        while let Some(ended) = self.running.join_next().await {
            self.ended(ended);
        }
    }

    async fn next(&mut self) -> Next {
        let full = self.find_full();
        if let Some(bound) = full.filter(|_| full != self.full) {
            self.metrics.count_full(bound);
        }
        self.full = full;
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Next::Stop,
            Some(ended) = self.running.join_next() => Next::Ended(ended),
            event = self.consumer.next(), if full.is_none() => Next::Event(event),
            () = tokio::time::sleep(SHOW_INTERVAL) => Next::Show,
        }
    }

    /// The bound that another batch might break.
    fn find_full(&self) -> Option<&'static str> {
        let config = &self.config;
        if self.lanes.records() + config.batch_records > config.held_max_tasks {
            Some("held_tasks")
        } else if self.lanes.bytes() + config.batch_bytes > config.held_max_bytes {
            Some("held_bytes")
        } else {
            None
        }
    }

    fn show(&self) {
        self.metrics.held_tasks.set(self.lanes.records() as i64);
        self.metrics.held_bytes.set(self.lanes.bytes() as i64);
        self.metrics.lanes.set(self.lanes.keys() as i64);
        self.metrics.ahead_tasks.set(self.lanes.all_ahead() as i64);
        self.metrics.lag.set(self.consumer.lag() as i64);
    }

    fn start(&mut self, record: Option<Record>) {
        let Some(record) = record else { return };
        let attempts = self.attempts.clone();
        self.running.spawn(async move {
            let done = attempts.finish(&record).await;
            (record, done)
        });
    }

    fn ended(&mut self, ended: Result<(Record, bool), JoinError>) {
        // Not done: the service stops, or the partition is another's. It stays uncommitted.
        let Ok((record, true)) = ended else { return };
        let next = self.lanes.finish(&record);
        if !self.shutdown.is_requested() {
            self.start(next);
        }
        let partition = tasks(record.partition);
        if let Some(done_below) = self.lanes.done_below(record.partition) {
            self.consumer.commit(&partition, done_below);
        }
        let ahead = self.lanes.ahead(record.partition);
        if ahead >= self.config.ahead_max_tasks {
            if self.paused.insert(record.partition) {
                self.consumer.pause(&partition);
                self.metrics.count_full("ahead_tasks");
            }
        } else if self.paused.remove(&record.partition) {
            self.consumer.resume(&partition);
        }
        self.metrics.paused_partitions.set(self.paused.len() as i64);
    }

    /// Another consumer is in force: it begins at the commit, and what was begun here it will do again.
    async fn revoked(&mut self) {
        self.running.shutdown().await;
        self.lanes.clear();
        self.paused.clear();
    }
}

fn tasks(partition: u32) -> TopicPartition {
    TopicPartition { topic: gochat_proto::topics::TASKS, partition }
}
