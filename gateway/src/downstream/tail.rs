//! Reads the gateway's partition on a thread of its own, since a full mailbox may hold it up.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use gochat_core::Mailboxes;
use gochat_infra::mq::{Record, Tail, TailEvent};
use tokio::{sync::Notify, time::sleep};

use super::{
    marks::Marks,
    split::{Item, ShardBatch, split},
};
use crate::{admin::SideCounters, config::DownstreamConfig, mail::Mail, time::unix_ms};

/// What the thread needs.
pub(crate) struct Follower {
    pub(crate) tail: Tail,
    pub(crate) mailboxes: Mailboxes<Mail>,
    pub(crate) instance: Arc<str>,
    pub(crate) config: DownstreamConfig,
    pub(crate) counters: Arc<SideCounters>,
    pub(crate) stop: Arc<Notify>,
}

impl Follower {
    /// Until `stop` is notified.
    pub(crate) async fn run(mut self) {
        let shards = self.mailboxes.len();
        let mut marks: Vec<Marks> = (0..shards).map(|_| Marks::new(self.config.marked_users_max)).collect();
        let mut quiet_until = vec![Instant::now(); shards];
        let stop = Arc::clone(&self.stop);
        loop {
            let pending = marks.iter().any(|marks| !marks.is_empty());
            let retry = Duration::from_millis(self.config.resync_retry_ms);
            let event = tokio::select! {
                () = stop.notified() => return,
                event = self.tail.next() => Some(event),
                () = sleep(retry), if pending => None,
            };
            match event {
                Some(TailEvent::Records(records)) => self.records(&records, &mut marks),
                Some(TailEvent::Lost(lost)) => {
                    tracing::warn!(lost, "downstream records lost, sending resync to all connections");
                    self.counters.downstream_lost.inc_by(lost);
                    marks.iter_mut().for_each(Marks::mark_all);
                }
                None => {}
            }
            self.tell_marked(&mut marks, &mut quiet_until);
        }
    }

    fn records(&self, records: &[Record], marks: &mut [Marks]) {
        self.counters.downstream_records.inc_by(records.len() as u64);
        let values = records.iter().map(|record| record.value.as_ref());
        let split = split(values, &self.instance, marks.len(), unix_ms());
        self.counters.downstream_foreign.inc_by(split.foreign);
        self.counters.downstream_unreadable.inc_by(split.unreadable);
        for (shard, batch) in
            split.shards.into_iter().enumerate().filter(|(_, batch)| !batch.items.is_empty())
        {
            self.post(shard, batch, &mut marks[shard]);
        }
    }

    fn post(&self, shard: usize, batch: ShardBatch, marks: &mut Marks) {
        let wait = Duration::from_millis(self.config.post_wait_ms);
        let mail = Mail::Downstream(batch.items);
        if let Err(full) = self.mailboxes.shard(shard).post_wait(mail, batch.cost_bytes, wait)
            && let Mail::Downstream(items) = full.mail
        {
            self.counters.downstream_dropped.inc_by(items.len() as u64);
            if marks.mark(&items) {
                self.counters.downstream_marks_overflown.inc();
            }
        }
    }

    /// A shard that cannot keep up is told at a pace: each `resync` makes its clients ask for more.
    fn tell_marked(&self, marks: &mut [Marks], quiet_until: &mut [Instant]) {
        let now = Instant::now();
        for (shard, marks) in marks.iter_mut().enumerate().filter(|(_, marks)| !marks.is_empty()) {
            if now < quiet_until[shard] {
                continue;
            }
            let resync: Item = marks.item(self.config.resync_spread_ms);
            if self.mailboxes.shard(shard).post(Mail::Downstream(vec![resync]), 1024).is_ok() {
                marks.clear();
                quiet_until[shard] = now + Duration::from_millis(self.config.resync_spread_ms);
            }
        }
    }
}
