//! The loop that owns the consumer: one task after the other, and a partition with a failed one waits.
use std::collections::BTreeSet;
use std::time::Instant;

use gochat_infra::mq::{Consumer, Event, Producer, Record, TopicPartition};
use gochat_infra::shutdown::Shutdown;

use crate::dead_letter::bury;
use crate::dispatch::{Outcome, Processors};
use crate::metrics::TaskMetrics;
use crate::retry::Waiting;

/// All that the loop owns.
pub(crate) struct Consume {
    pub consumer: Consumer,
    pub producer: Producer,
    pub processors: Processors,
    pub waiting: Waiting,
    pub metrics: TaskMetrics,
    pub shutdown: Shutdown,
}

enum Next {
    Stop,
    Due,
    Event(Event),
}

impl Consume {
    /// Runs until the shutdown.
    pub(crate) async fn run(mut self) {
        loop {
            match self.next().await {
                Next::Stop => return,
                Next::Due => self.resume_due(),
                Next::Event(Event::Records(records)) => self.records(records).await,
                Next::Event(Event::Assigned(_)) => {}
                Next::Event(Event::Revoked(partitions)) => {
                    partitions.iter().for_each(|tp| self.waiting.succeeded(tp.partition));
                }
            }
        }
    }

    async fn next(&mut self) -> Next {
        let due = self.waiting.next_due().map(tokio::time::Instant::from_std);
        let due = async move {
            match due {
                Some(due) => tokio::time::sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            biased;
            () = self.shutdown.requested() => Next::Stop,
            () = due => Next::Due,
            event = self.consumer.next() => Next::Event(event),
        }
    }

    fn resume_due(&mut self) {
        while let Some(partition) = self.waiting.take_due(Instant::now()) {
            self.consumer.resume(&tasks(partition));
        }
        self.metrics.waiting_partitions.set(self.waiting.len() as i64);
    }

    async fn records(&mut self, records: Vec<Record>) {
        // Behind a failed task the rest of its partition is left; it comes again from there.
        let mut failed = BTreeSet::new();
        for record in records {
            if self.shutdown.is_requested() {
                return;
            }
            if failed.contains(&record.partition) {
                continue;
            }
            let tp = tasks(record.partition);
            if self.finish(&record).await {
                self.waiting.succeeded(record.partition);
                self.consumer.commit(&tp, record.offset + 1);
            } else {
                failed.insert(record.partition);
                self.waiting.failed(record.partition, Instant::now());
                self.consumer.pause(&tp);
                self.consumer.seek(&tp, record.offset);
            }
        }
        self.metrics.waiting_partitions.set(self.waiting.len() as i64);
        self.metrics.lag.set(self.consumer.lag() as i64);
    }

    /// True when the record needs no further attempt.
    async fn finish(&self, record: &Record) -> bool {
        let (kind, outcome) = self.processors.run(record).await;
        match outcome {
            Outcome::Done => {
                self.metrics.count(kind, "done");
                true
            }
            Outcome::Retry(reason) => {
                self.metrics.count(kind, "retry");
                tracing::warn!(kind, reason, "a task failed and will be tried again");
                false
            }
            Outcome::Never(reason) => {
                tracing::warn!(kind, reason, "a task can never be done; it goes to the dead letter");
                match bury(&self.producer, record, reason).await {
                    Ok(()) => {
                        self.metrics.count(kind, "dead-letter");
                        true
                    }
                    Err(error) => {
                        self.metrics.count(kind, "retry");
                        tracing::warn!(%error, "the dead letter did not take a task; it waits");
                        false
                    }
                }
            }
        }
    }
}

fn tasks(partition: u32) -> TopicPartition {
    TopicPartition { topic: gochat_proto::topics::TASKS, partition }
}
