//! One attempt at a batch, step by step, and all that its owner keeps between batches.
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use gochat_infra::idgen::{IdError, IdGen};
use gochat_infra::rpc;
use gochat_infra::telemetry::{TROUBLE_LINE_PERIOD, Trouble};
use gochat_proto::repo::v1::ConversationBatch;
use gochat_proto::repo::v1::conversation_repo_client::ConversationRepoClient;
use gochat_proto::repo::v1::group_repo_client::GroupRepoClient;
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;

use super::authorize::authorize;
use super::decode::Inbound;
use super::dedupe::{FinishedKeys, Known};
use super::lookup::look_up;
use super::metrics::PipelineMetrics;
use super::owner::Owner;
use super::persist::persist;
use super::round::{Round, Work, by_conversation};
use super::sequence::{Plan, number};
use crate::config::PipelineConfig;

/// Of drawing ids.
static TROUBLE: Trouble = Trouble::new(TROUBLE_LINE_PERIOD);

/// The owner of some partitions. It runs one attempt at a time, so a conversation has one save in flight at most.
pub(crate) struct Attempts {
    owner: Owner,
    finished: FinishedKeys,
    ids: IdGen,
    conversations: ConversationRepoClient<rpc::Client>,
    messages: MessageRepoClient<rpc::Client>,
    groups: GroupRepoClient<rpc::Client>,
    metrics: PipelineMetrics,
    senders_per_group: usize,
}

impl Attempts {
    pub(crate) fn new(
        config: &PipelineConfig,
        repo: &rpc::Client,
        ids: IdGen,
        metrics: PipelineMetrics,
    ) -> Self {
        Self {
            owner: Owner::new(config.conversations),
            finished: FinishedKeys::new(config.finished_keys_per_partition),
            ids,
            conversations: ConversationRepoClient::new(repo.clone()),
            messages: MessageRepoClient::new(repo.clone()),
            groups: GroupRepoClient::new(repo.clone()),
            metrics,
            senders_per_group: config.senders_per_group,
        }
    }

    pub(crate) fn begin_batch(&mut self) {
        self.owner.begin_batch();
        self.metrics.conversations.set(self.owner.len() as i64);
    }

    /// Somebody else owns the partition now.
    pub(crate) fn forget_partition(&mut self, partition: u32) {
        self.owner.forget_partition(partition);
        self.finished.forget_partition(partition);
    }

    /// Settles what it can of `open`; every message is in the round's replies, open or refused after it, never in none.
    pub(crate) async fn attempt<'a>(&mut self, open: &[&'a Inbound]) -> Round<'a> {
        let mut round = Round::default();
        let mut works = by_conversation(open);
        for work in &mut works {
            self.settle_finished(work, &mut round);
        }
        let start = Instant::now();
        look_up(&mut works, &mut self.owner, &self.conversations, &self.messages, &mut round).await;
        let read = Instant::now();
        authorize(&mut works, &mut self.owner, &self.groups, &mut round).await;
        let authorized = Instant::now();
        let (plans, batches) = self.number_all(&mut works, &mut round);
        if !plans.is_empty() {
            self.metrics
                .save_messages
                .observe(plans.iter().map(|plan| plan.leaders.len()).sum::<usize>() as f64);
            let (owner, finished) = (&mut self.owner, &mut self.finished);
            persist(plans, batches, &self.messages, owner, finished, &self.metrics, &mut round).await;
        }
        self.metrics.stages.observe("read", read - start);
        self.metrics.stages.observe("authorize", authorized - read);
        self.metrics.stages.observe("save", authorized.elapsed());
        round
    }

    /// Re-sends of what was finished lately need their acks and nothing else.
    fn settle_finished<'a>(&mut self, work: &mut Work<'a>, round: &mut Round<'a>) {
        let (finished, partition) = (&mut self.finished, work.partition);
        work.items.retain(|item| {
            match finished.find(partition, item.key(), item.content()) {
                None => return true,
                Some(Known::Same(place)) => round.stored(item, place, "repeated-lately"),
                Some(Known::Conflict) => round.conflict(item),
            }
            false
        });
    }

    fn number_all<'a>(
        &mut self,
        works: &mut [Work<'a>],
        round: &mut Round<'a>,
    ) -> (Vec<Plan<'a>>, Vec<ConversationBatch>) {
        let now_ms = unix_ms();
        let mut plans = Vec::with_capacity(works.len());
        let mut batches = Vec::with_capacity(works.len());
        for work in works.iter_mut().filter(|work| !work.items.is_empty()) {
            // A check that found no group leaves neither state nor messages, so a work with messages has a state;
            // should that ever break, the messages wait and are read again.
            let Some(state) = self.owner.get(work.id) else {
                round.leave_open(work.items.drain(..), "forgotten");
                continue;
            };
            if state.members.len() > self.senders_per_group {
                state.members.clear();
            }
            match number(work, state, now_ms, || self.ids.next()) {
                Ok((plan, batch)) => {
                    if let Some(left_out) = TROUBLE.over() {
                        tracing::info!(left_out, "message ids can be drawn again");
                    }
                    plans.push(plan);
                    batches.push(batch);
                }
                Err(error) => {
                    no_id(&error);
                    round.hurt = true;
                    round.leave_open(work.items.drain(..), "no-id");
                }
            }
        }
        (plans, batches)
    }
}

fn no_id(error: &IdError) {
    if let Some(left_out) = TROUBLE.line(Instant::now()) {
        tracing::warn!(%error, left_out, "no message id could be drawn");
    }
}

/// Now, in milliseconds since 1970, UTC.
pub(crate) fn unix_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as i64)
}
