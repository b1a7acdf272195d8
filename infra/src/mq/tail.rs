//! Following a partition from its end.

use std::sync::Arc;

use tokio::sync::Notify;

use super::Record;
use super::consumer::older;
use super::log::{Log, Older};
use super::partition::{Found, Partition, Room};
use super::queue::{Shared, bell};

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
    shared: Arc<Shared>,
    partition: Arc<Partition>,
    log: Option<Arc<Log>>,
    bell: Arc<Notify>,
    number: u64,
    position: u64,
}

impl Tail {
    pub(super) fn new(shared: Arc<Shared>, partition: Arc<Partition>, log: Option<Arc<Log>>) -> Tail {
        let bell = bell(std::iter::once(&partition));
        let (number, position) = partition.begin_tail();
        Tail { shared, partition, log, bell, number, position }
    }

    /// Everything there is up to the bounds of the configuration's `tail`, at once or when the first record arrives.
    ///
    /// Cancel safe: a call that is dropped has taken nothing.
    pub async fn next(&mut self) -> TailEvent {
        // A tail far behind never waits: without this it would keep a runtime's thread to itself.
        tokio::task::coop::consume_budget().await;
        loop {
            let config = self.shared.config.tail;
            let mut room = Room { records: config.max_records.max(1), bytes: config.max_bytes };
            let mut records = Vec::new();
            match self.partition.read(self.position, &mut room, &mut records) {
                Found::Records(_) => return self.have(records),
                Found::Older(oldest) if self.log.is_none() => return self.lost(oldest),
                Found::Older(_) => {
                    let read = older(&self.shared, &self.log, &self.partition, self.position, room).await;
                    return match read {
                        Older::Records(records) => self.have(records),
                        Older::Deleted(oldest) => self.lost(oldest),
                    };
                }
                Found::Nothing | Found::Full => self.bell.notified().await,
            }
        }
    }

    /// The offset of the next record that it will return.
    pub fn position(&self) -> u64 {
        self.position
    }

    fn have(&mut self, records: Vec<Record>) -> TailEvent {
        self.go_to(self.position + records.len() as u64);
        TailEvent::Records(records)
    }

    fn lost(&mut self, oldest: u64) -> TailEvent {
        let lost = oldest.saturating_sub(self.position);
        self.shared.counts.lost_records.inc_by(lost);
        self.go_to(oldest);
        TailEvent::Lost(lost)
    }

    fn go_to(&mut self, position: u64) {
        self.position = position;
        self.partition.move_tail(self.number, Some(position));
    }
}

impl Drop for Tail {
    fn drop(&mut self) {
        self.partition.move_tail(self.number, None);
    }
}
