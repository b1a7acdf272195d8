//! Following a partition from its end.

use std::sync::Arc;

use tokio::sync::Notify;

use super::partition::{Found, Partition};
use super::queue::bell;
use super::{ConsumerConfig, Record};

/// What a tail learns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TailEvent {
    /// Records in order, never empty.
    Records(Vec<Record>),
    /// This many records were dropped before they could be read; the next event goes on behind them.
    Lost(u64),
}

/// Reads one partition from where its end was when the tail was made. It belongs to no group and commits nothing.
#[derive(Debug)]
pub struct Tail {
    partition: Arc<Partition>,
    bell: Arc<Notify>,
    position: u64,
    config: ConsumerConfig,
}

impl Tail {
    pub(super) fn new(partition: Arc<Partition>, config: ConsumerConfig) -> Tail {
        let bell = bell(std::iter::once(&partition));
        let position = partition.next_offset();
        Tail { partition, bell, position, config }
    }

    /// Everything there is up to the bounds, at once or when the first record arrives.
    ///
    /// Cancel safe: a call that is dropped has taken nothing.
    pub async fn next(&mut self) -> TailEvent {
        loop {
            let mut records = Vec::new();
            let mut max_bytes = self.config.max_bytes;
            let max_records = self.config.max_records.max(1);
            match self.partition.read(self.position, max_records, &mut max_bytes, &mut records) {
                Found::Records(n) => {
                    self.position += n as u64;
                    return TailEvent::Records(records);
                }
                Found::Older(oldest) => {
                    let lost = oldest - self.position;
                    self.position = oldest;
                    return TailEvent::Lost(lost);
                }
                Found::Nothing => self.bell.notified().await,
            }
        }
    }

    /// The offset of the next record that it will return.
    pub fn position(&self) -> u64 {
        self.position
    }
}
