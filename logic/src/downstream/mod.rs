//! The way to gateways: sending never waits, and a gateway whose queue is full is told to resync later.
mod resync;

use std::collections::HashSet;
use std::fmt::Display;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use gochat_infra::mq::{Outgoing, Producer, Target};
use gochat_proto::common::v1::Message;
use gochat_proto::downstream as encode;
use gochat_proto::queue::v1::{ConversationUpdated, FanOutGroup, Receipt, Resync, Task, downstream, task};
use gochat_proto::topics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::registry::Registry;
use prost::Message as _;
use tokio::sync::{Notify, oneshot};

use self::resync::{Marks, Whom};
use crate::config::RoutesConfig;
use crate::metrics::{Counts, counter};
use crate::routes::{Gateway, OnlineMembers, Routes, UNREADABLE};

/// What was sent, and what was not.
#[derive(Clone)]
pub(crate) struct DownstreamMetrics {
    sent: Counts,
    dropped: Counts,
    resyncs: Counter,
    routes_failed: Counter,
    fan_outs: Counts,
}

impl DownstreamMetrics {
    /// Names them in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let r = registry;
        Self {
            sent: Counts::register(r, "downstream_sent", "Records sent to gateways, by kind", "kind"),
            dropped: Counts::register(
                r,
                "downstream_dropped",
                "Records that the queue of a gateway did not take, by kind",
                "kind",
            ),
            resyncs: counter(r, "downstream_resyncs", "Resyncs sent in place of what was lost"),
            routes_failed: counter(
                r,
                "routes_failed",
                "Distributions without routes, each replaced by a resync",
            ),
            fan_outs: Counts::register(
                r,
                "fan_outs",
                "Messages of large groups handed to task, and those that the queue did not take in time",
                "outcome",
            ),
        }
    }
}

/// Sends to gateways; clones share everything.
#[derive(Clone)]
pub(crate) struct Downstream {
    shared: Arc<Shared>,
}

struct Shared {
    producer: Producer,
    routes: Arc<Routes>,
    marks: Marks,
    marked: Notify,
    metrics: DownstreamMetrics,
    users_per_record: usize,
    resync_spread_ms: u32,
    resync_retry: Duration,
    fan_out_send: Duration,
}

impl Downstream {
    pub(crate) fn new(
        config: &RoutesConfig,
        producer: Producer,
        routes: Arc<Routes>,
        metrics: DownstreamMetrics,
    ) -> Self {
        let shared = Shared {
            producer,
            routes,
            marks: Marks::new(config.resync_users),
            marked: Notify::new(),
            metrics,
            users_per_record: config.users_per_record,
            resync_spread_ms: config.resync_spread_ms,
            resync_retry: Duration::from_millis(config.resync_retry_ms),
            fan_out_send: Duration::from_millis(config.fan_out_send_ms),
        };
        Self { shared: Arc::new(shared) }
    }

    pub(crate) fn routes(&self) -> &Routes {
        &self.shared.routes
    }

    /// One answer to one connection. When it is lost the client sends again and gets the same answer.
    pub(crate) fn reply(&self, slot: u32, record: Bytes) {
        let metrics = self.shared.metrics.clone();
        let lost = move || metrics.dropped.inc("ack");
        self.send(slot, record, "ack", lost);
    }

    /// A message for some users of a gateway, split where they are too many for one record.
    pub(crate) fn deliver(&self, gateway: &Arc<Gateway>, message: &[u8], users: &[u64]) {
        for users in users.chunks(self.shared.users_per_record) {
            let record = encode::delivery(&gateway.instance, message, encode::Audience::Users(users));
            // A list of its own only for the few that a single conversation has; otherwise the whole gateway.
            let whom = match users {
                [one] => Whom::One(*one),
                _ => Whom::Everyone,
            };
            self.send_or_mark(gateway, record, "message", whom);
        }
    }

    /// A message for every connection of every gateway.
    pub(crate) fn deliver_everywhere(&self, message: &[u8]) {
        for gateway in self.shared.routes.gateways().values() {
            let record = encode::delivery(&gateway.instance, message, encode::Audience::Everyone);
            self.send_or_mark(gateway, record, "message", Whom::Everyone);
        }
    }

    /// Hands messages of large groups to task and waits until they are kept. What the queue refuses for
    /// `fan_out_send_ms` becomes a resync.
    pub(crate) async fn fan_out(&self, mut tasks: Vec<Outgoing>) {
        let give_up = Instant::now() + self.shared.fan_out_send;
        while !tasks.is_empty() {
            // All at once, in their order, so that they share an fsync.
            let sent: Vec<_> = tasks.into_iter().map(|task| (task.clone(), self.begin(task))).collect();
            tasks = Vec::new();
            for (task, written) in sent {
                match written.await {
                    Ok(true) => self.shared.metrics.fan_outs.inc("sent"),
                    _ => tasks.push(task),
                }
            }
            if tasks.is_empty() {
                return;
            }
            if Instant::now() >= give_up {
                self.shared.metrics.fan_outs.add("dropped", tasks.len() as u64);
                return self.lost_routes(&"the queue refused fan-outs");
            }
            tokio::time::sleep(self.shared.resync_retry).await;
        }
    }

    /// Sends now; true comes when it was written, and no answer when it was not taken.
    fn begin(&self, task: Outgoing) -> oneshot::Receiver<bool> {
        let (done, written) = oneshot::channel();
        let taken = self.shared.producer.send(task, move |result| {
            let _ = done.send(result.is_ok());
        });
        if let Err(error) = taken {
            tracing::debug!(%error, "a fan-out was refused");
        }
        written
    }

    /// A read pointer moved.
    pub(crate) fn receipt(&self, gateway: &Arc<Gateway>, receipt: &Receipt, users: &[u64]) {
        for users in users.chunks(self.shared.users_per_record) {
            let body = Receipt { user_ids: users.to_vec(), ..receipt.clone() };
            let record = encode::any(&gateway.instance, downstream::Body::Receipt(body));
            let metrics = self.shared.metrics.clone();
            // A lost receipt is made good by the next one or the next look at the list.
            let lost = move || metrics.dropped.inc("receipt");
            self.send(gateway.slot, record, "receipt", lost);
        }
    }

    /// Users have to look at a conversation again.
    pub(crate) fn updated(&self, gateway: &Arc<Gateway>, update: &ConversationUpdated, users: &[u64]) {
        for users in users.chunks(self.shared.users_per_record) {
            let body = ConversationUpdated { user_ids: users.to_vec(), ..update.clone() };
            let record = encode::any(&gateway.instance, downstream::Body::ConversationUpdated(body));
            self.send_or_mark(gateway, record, "conversation-updated", Whom::Everyone);
        }
    }

    /// Their routes could not be read: wherever these users are, they compare heads.
    pub(crate) fn lost_routes_of_users(&self, why: &dyn Display, users: &HashSet<u64>) {
        self.lost(why, "some users will resync");
        for gateway in self.shared.routes.gateways().values() {
            users.iter().for_each(|user| self.shared.marks.mark(gateway, Whom::One(*user)));
        }
        self.shared.marked.notify_one();
    }

    /// A list of members could not be read: everyone compares heads.
    pub(crate) fn lost_routes(&self, why: &dyn Display) {
        self.lost(why, "all gateways will resync");
        for gateway in self.shared.routes.gateways().values() {
            self.shared.marks.mark(gateway, Whom::Everyone);
        }
        self.shared.marked.notify_one();
    }

    fn lost(&self, why: &dyn Display, what: &'static str) {
        self.shared.metrics.routes_failed.inc();
        if let Some(left_out) = UNREADABLE.line(Instant::now()) {
            tracing::warn!(%why, left_out, "receivers are not known: {what}");
        }
    }

    fn send_or_mark(&self, gateway: &Arc<Gateway>, record: Bytes, kind: &'static str, whom: Whom) {
        let (shared, lost_by) = (self.shared.clone(), gateway.clone());
        self.send(gateway.slot, record, kind, move || {
            shared.metrics.dropped.inc(kind);
            shared.marks.mark(&lost_by, whom);
            shared.marked.notify_one();
        });
    }

    /// `lost` runs at once when the queue is full, or later when the record did not arrive.
    fn send(
        &self,
        slot: u32,
        value: Bytes,
        kind: &'static str,
        lost: impl FnOnce() + Clone + Send + 'static,
    ) {
        let record =
            Outgoing { topic: topics::DOWNSTREAM, target: Target::Partition(slot), key: Bytes::new(), value };
        let late = lost.clone();
        let sent = self.shared.producer.send(record, move |result| {
            if result.is_err() {
                late();
            }
        });
        match sent {
            Ok(()) => {
                self.shared.metrics.sent.inc(kind);
            }
            Err(_) => lost(),
        }
    }

    /// Sends the resyncs that are due, until the task is dropped. While a queue stays full it is tried again
    /// every `resync_retry_ms`.
    pub(crate) async fn run_resyncs(self) {
        loop {
            self.shared.marked.notified().await;
            while self.send_resyncs() {
                tokio::time::sleep(self.shared.resync_retry).await;
            }
        }
    }

    /// True when some are left.
    fn send_resyncs(&self) -> bool {
        let live = self.shared.routes.gateways();
        for (gateway, users) in self.shared.marks.take() {
            // A gateway that is gone has nobody to resync; its clients compare heads where they connect next.
            if !live.contains_key(&gateway.instance) {
                continue;
            }
            let spread_ms = self.shared.resync_spread_ms;
            let user_ids = users.iter().flatten().copied().collect();
            let body = downstream::Body::Resync(Resync { user_ids, spread_ms });
            let record = Outgoing {
                topic: topics::DOWNSTREAM,
                target: Target::Partition(gateway.slot),
                key: Bytes::new(),
                value: encode::any(&gateway.instance, body),
            };
            let (shared, again) = (self.shared.clone(), gateway.clone());
            let sent = self.shared.producer.send(record, move |result| {
                if result.is_err() {
                    shared.marks.mark(&again, Whom::Everyone);
                    shared.marked.notify_one();
                }
            });
            match sent {
                Ok(()) => {
                    self.shared.metrics.resyncs.inc();
                }
                Err(_) => self.shared.marks.put_back(gateway, users),
            }
        }
        !self.shared.marks.is_empty()
    }

    /// Sends `send` once for each gateway where some of `members` are, with those of them that `keep` keeps.
    pub(crate) fn to_members(
        members: &OnlineMembers,
        keep: impl Fn(u64, u64) -> bool,
        mut send: impl FnMut(&Arc<Gateway>, &[u64]),
    ) {
        let mut users = Vec::new();
        for (gateway, members) in &members.gateways {
            users.clear();
            users.extend(members.iter().filter(|m| keep(m.user_id, m.joined_seq)).map(|m| m.user_id));
            if !users.is_empty() {
                send(gateway, &users);
            }
        }
    }
}

/// The task that brings a message, encoded before, to the members of a large group. Its id names the message, so done
/// twice it goes on where it was.
pub(crate) fn fan_out_task(group_id: u64, message: &Bytes) -> Option<Outgoing> {
    let message = Message::decode(message.clone()).ok()?;
    let key = message.conversation_id.clone();
    let task = Task {
        task_id: format!("fanout-{}", message.message_id),
        created_at_ms: crate::pipeline::unix_ms(),
        body: Some(task::Body::FanOutGroup(FanOutGroup { message: Some(message), group_id })),
    };
    Some(Outgoing {
        topic: topics::TASKS,
        target: Target::ByKey,
        key: key.into(),
        value: task.encode_to_vec().into(),
    })
}
