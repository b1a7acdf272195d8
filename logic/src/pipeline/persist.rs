//! One save for all conversations of a round, and what its outcome means for each.
use std::time::Instant;

use gochat_infra::errors::{Code, Error};
use gochat_infra::rpc;
use gochat_infra::telemetry::{TROUBLE_LINE_PERIOD, Trouble};
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::{ConversationBatch, SaveMessagesRequest, SaveOutcome};

use super::attempt::unix_ms;
use super::authorize::NO_GROUP;
use super::dedupe::FinishedKeys;
use super::metrics::PipelineMetrics;
use super::owner::Owner;
use super::round::{Delivery, Round};
use super::sequence::Plan;
use crate::domain::conversation::Conversation;

static TROUBLE: Trouble = Trouble::new(TROUBLE_LINE_PERIOD);

/// Saves, then settles or leaves open every message of the plans.
pub(crate) async fn persist<'a>(
    plans: Vec<Plan<'a>>,
    batches: Vec<ConversationBatch>,
    messages: &MessageRepoClient<rpc::Client>,
    owner: &mut Owner,
    finished: &mut FinishedKeys,
    metrics: &PipelineMetrics,
    round: &mut Round<'a>,
) {
    let request = SaveMessagesRequest { conversations: batches };
    let answer = messages.clone().save_messages(request).await.map_err(Error::from);
    let outcomes = answer.and_then(|answer| {
        let outcomes: Vec<SaveOutcome> = answer.get_ref().outcomes().collect();
        match outcomes.len() == plans.len() {
            true => Ok(outcomes),
            false => Err(Error::internal("the store answered for another number of conversations")),
        }
    });
    match outcomes {
        Ok(outcomes) => {
            if let Some(left_out) = TROUBLE.over() {
                tracing::info!(left_out, "saves work again");
            }
            let now_ms = unix_ms();
            for (plan, outcome) in plans.into_iter().zip(outcomes) {
                if outcome == SaveOutcome::Saved {
                    plan.leaders.iter().for_each(|leader| metrics.stored(&leader.item.message, now_ms));
                }
                settle(plan, outcome, owner, finished, round);
            }
        }
        Err(error) => {
            // It may have committed all the same: everything is read again before the next attempt.
            if let Some(left_out) = TROUBLE.line(Instant::now()) {
                let conversations = plans.len();
                tracing::warn!(%error, conversations, left_out, "a save failed or its outcome is unknown");
            }
            for plan in plans {
                owner.forget(plan.id);
                round.failed(plan.items(), &error, "save-failed");
            }
        }
    }
}

fn settle<'a>(
    plan: Plan<'a>,
    outcome: SaveOutcome,
    owner: &mut Owner,
    finished: &mut FinishedKeys,
    round: &mut Round<'a>,
) {
    let again = match outcome {
        SaveOutcome::Saved => return saved(plan, owner, finished, round),
        SaveOutcome::NoConversation => {
            let (code, why) = match plan.conversation {
                Conversation::Single { .. } => (Code::UserNotFound, "This user does not exist."),
                Conversation::Group(_) | Conversation::World => (Code::ConversationNotFound, NO_GROUP),
            };
            owner.forget(plan.id);
            return plan.items().for_each(|item| round.reject(item, code, why));
        }
        SaveOutcome::StaleSeq => "stale-seq",
        SaveOutcome::StaleVersion => "stale-version",
        SaveOutcome::Duplicate => "duplicate",
        SaveOutcome::IdConflict => "id-conflict",
        SaveOutcome::Unspecified => "unspecified",
    };
    owner.forget(plan.id);
    round.leave_open(plan.items(), again);
}

fn saved<'a>(plan: Plan<'a>, owner: &mut Owner, finished: &mut FinishedKeys, round: &mut Round<'a>) {
    if let Some(state) = owner.get(plan.id) {
        state.exists = true;
        state.last_seq += plan.leaders.len() as u64;
    }
    for leader in plan.leaders {
        let content = leader.item.content();
        finished.insert(plan.partition, leader.item.key(), content, leader.place);
        round.stored(leader.item, leader.place, "stored");
        for follower in leader.followers {
            match follower.content() == content {
                true => round.stored(follower, leader.place, "merged"),
                false => round.conflict(follower),
            }
        }
        round.deliveries.push(Delivery {
            conversation: plan.conversation,
            seq_id: leader.place.seq_id,
            group_version: plan.group_version,
            message: leader.message,
        });
    }
}
