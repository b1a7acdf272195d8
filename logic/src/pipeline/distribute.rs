//! After the commit: acks to senders, messages to every device of those concerned, then the offset.
//!
//! A task of its own, so that the next batch is being saved meanwhile; rounds go through it in order. Nothing here
//! fails a message: what a gateway's queue does not take, or what has no routes, becomes a resync.
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::{Notify, mpsc, oneshot};

use super::metrics::PipelineMetrics;
use super::round::{Delivery, Reply};
use crate::domain::conversation::Conversation;
use crate::downstream::{Downstream, fan_out_task};
use crate::events::Events;
use crate::routes::{Gateway, GroupRoute, UserRoute};

/// What one round left to distribute, or a question when all before it is done.
pub(crate) enum ToDistribute {
    Round {
        deliveries: Vec<Delivery>,
        replies: Vec<Reply>,
        /// Next offset by partition, once this and all before it is distributed.
        commits: BTreeMap<u32, u64>,
    },
    Flush(oneshot::Sender<()>),
}

/// Offsets whose records are finished. Bounded by the number of partitions.
#[derive(Default)]
pub(crate) struct Finished {
    offsets: Mutex<BTreeMap<u32, u64>>,
    pub changed: Notify,
}

impl Finished {
    fn add(&self, commits: BTreeMap<u32, u64>) {
        if !commits.is_empty() {
            self.offsets.lock().unwrap_or_else(PoisonError::into_inner).extend(commits);
            self.changed.notify_one();
        }
    }

    pub(crate) fn take(&self) -> BTreeMap<u32, u64> {
        std::mem::take(&mut *self.offsets.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

/// Runs until the pipeline drops its end of the channel.
pub(crate) async fn run(
    mut rounds: mpsc::Receiver<ToDistribute>,
    downstream: Downstream,
    events: Events,
    finished: Arc<Finished>,
    metrics: PipelineMetrics,
) {
    while let Some(next) = rounds.recv().await {
        match next {
            ToDistribute::Round { deliveries, replies, commits } => {
                if !replies.is_empty() {
                    let start = Instant::now();
                    for reply in replies {
                        downstream.reply(reply.gateway_slot, reply.record);
                    }
                    deliver(&downstream, &deliveries).await;
                    for delivery in &deliveries {
                        events.message(delivery.conversation, &delivery.message);
                    }
                    metrics.stages.observe("distribute", start.elapsed());
                }
                finished.add(commits);
            }
            ToDistribute::Flush(done) => drop(done.send(())),
        }
    }
}

async fn deliver(downstream: &Downstream, deliveries: &[Delivery]) {
    let users: HashSet<u64> = deliveries
        .iter()
        .filter_map(|delivery| match delivery.conversation {
            Conversation::Single { lo, hi } => Some([lo, hi]),
            Conversation::Group(_) | Conversation::World => None,
        })
        .flatten()
        .collect();
    let routes = match users.is_empty() {
        true => Ok(HashMap::new()),
        false => downstream.routes().of_users(&users).await,
    };
    if let Err(error) = &routes {
        downstream.lost_routes_of_users(error, &users);
    }
    let mut fan_outs = Vec::new();
    for delivery in deliveries {
        match delivery.conversation {
            Conversation::Single { lo, hi } => {
                if let Ok(routes) = &routes {
                    deliver_single(downstream, delivery, [lo, hi], routes);
                }
            }
            Conversation::Group(group_id) => {
                if let GroupSize::Large = deliver_group(downstream, delivery, group_id).await {
                    fan_outs.extend(fan_out_task(group_id, &delivery.message));
                }
            }
            Conversation::World => downstream.deliver_everywhere(&delivery.message),
        }
    }
    downstream.fan_out(fan_outs).await;
}

fn deliver_single(
    downstream: &Downstream,
    delivery: &Delivery,
    pair: [u64; 2],
    routes: &HashMap<u64, UserRoute>,
) {
    let route_of = |user| routes.get(&user).map_or(&[][..], |route| &route[..]);
    let [first, second] = pair.map(route_of);
    for gateway in first {
        match second.contains(gateway) {
            true => downstream.deliver(gateway, &delivery.message, &pair),
            false => downstream.deliver(gateway, &delivery.message, &pair[..1]),
        }
    }
    let only_second = |gateway: &&Arc<Gateway>| !first.contains(*gateway);
    for gateway in second.iter().filter(only_second) {
        downstream.deliver(gateway, &delivery.message, &pair[1..]);
    }
}

/// Whether a group's message was sent right here, or is left for a task.
enum GroupSize {
    Small,
    Large,
}

async fn deliver_group(downstream: &Downstream, delivery: &Delivery, group_id: u64) -> GroupSize {
    match downstream.routes().of_group(group_id, delivery.group_version).await {
        Ok(GroupRoute::Large) => return GroupSize::Large,
        Ok(GroupRoute::Small(members)) => Downstream::to_members(
            &members,
            |_, joined_seq| joined_seq < delivery.seq_id,
            |gateway, users| downstream.deliver(gateway, &delivery.message, users),
        ),
        Err(error) => downstream.lost_routes(&error),
    }
    GroupSize::Small
}
