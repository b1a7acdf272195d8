//! Who may write where. Rejections rest on a fresh look at the store; permissions may rest on what the owner keeps,
//! since the save is refused when the membership has changed since.
use std::collections::{BTreeSet, HashSet};
use std::time::Instant;

use gochat_infra::errors::{Code, Error};
use gochat_infra::rpc;
use gochat_infra::telemetry::{TROUBLE_LINE_PERIOD, Trouble};
use gochat_proto::repo::v1::CheckGroupMembersRequest;
use gochat_proto::repo::v1::group_repo_client::GroupRepoClient;
use tokio::task::JoinSet;

use super::owner::Owner;
use super::round::{Round, Work};
use crate::domain::conversation::Conversation;

const NOT_YOURS: &str = "This conversation belongs to others.";
const NOT_A_MEMBER: &str = "Only members may write to this group.";
/// Said of a group that is not there.
pub(crate) const NO_GROUP: &str = "This group does not exist.";

static TROUBLE: Trouble = Trouble::new(TROUBLE_LINE_PERIOD);

type Check = (usize, Result<(HashSet<u64>, u64), Error>);

/// Leaves in each work only the messages that may be saved. Every work with messages has a state in `owner`.
pub(crate) async fn authorize<'a>(
    works: &mut [Work<'a>],
    owner: &mut Owner,
    groups: &GroupRepoClient<rpc::Client>,
    round: &mut Round<'a>,
) {
    let mut checks = JoinSet::<Check>::new();
    let mut unanswered = BTreeSet::new();
    for (index, work) in works.iter_mut().enumerate() {
        match work.conversation {
            Conversation::World => {}
            Conversation::Single { .. } => {
                reject_where(work, round, NOT_YOURS, |conversation, sender| conversation.may_include(sender));
            }
            Conversation::Group(group_id) => {
                if let Some(senders) = senders_to_check(work, owner, round) {
                    unanswered.insert(index);
                    let mut groups = groups.clone();
                    checks.spawn(async move {
                        let request = CheckGroupMembersRequest { group_id, user_ids: senders };
                        let answer = groups.check_group_members(request).await.map(|answer| {
                            let answer = answer.into_inner();
                            (answer.member_ids.into_iter().collect(), answer.version)
                        });
                        (index, answer.map_err(Error::from))
                    });
                }
            }
        }
    }
    while let Some(checked) = checks.join_next().await {
        // A check that panicked is one without an answer.
        if let Ok((index, answer)) = checked {
            unanswered.remove(&index);
            settle_check(&mut works[index], owner, answer, round);
        }
    }
    for index in unanswered {
        let lost = Error::internal("a membership check was lost");
        settle_check(&mut works[index], owner, Err(lost), round);
    }
}

/// The distinct senders of a group when at least one of them is not known to be a member; all are asked, so that
/// one version holds for all.
fn senders_to_check<'a>(work: &mut Work<'a>, owner: &mut Owner, round: &mut Round<'a>) -> Option<Vec<u64>> {
    let state = owner.get(work.id).filter(|_| !work.items.is_empty())?;
    if !state.exists {
        for item in work.items.drain(..) {
            round.reject(item, Code::ConversationNotFound, NO_GROUP);
        }
        // It may be made in the next moment.
        owner.forget(work.id);
        return None;
    }
    if work.items.iter().all(|item| state.members.contains(&item.message.sender_id)) {
        return None;
    }
    let senders: HashSet<u64> = work.items.iter().map(|item| item.message.sender_id).collect();
    Some(senders.into_iter().collect())
}

fn settle_check<'a>(
    work: &mut Work<'a>,
    owner: &mut Owner,
    answer: Result<(HashSet<u64>, u64), Error>,
    round: &mut Round<'a>,
) {
    match answer {
        Ok((members, version)) => {
            if let Some(left_out) = TROUBLE.over() {
                tracing::info!(left_out, "members of groups can be checked again");
            }
            reject_where(work, round, NOT_A_MEMBER, |_, sender| members.contains(&sender));
            let Some(state) = owner.get(work.id) else { return };
            if state.group_version != version {
                state.group_version = version;
                state.members.clear();
            }
            state.members.extend(members);
        }
        Err(error) => {
            owner.forget(work.id);
            if matches!(error.code, Code::GroupNotFound | Code::ConversationNotFound) {
                for item in work.items.drain(..) {
                    round.reject(item, Code::ConversationNotFound, NO_GROUP);
                }
            } else {
                if let Some(left_out) = TROUBLE.line(Instant::now()) {
                    tracing::warn!(%error, left_out, "members of a group could not be checked");
                }
                round.failed(work.items.drain(..), &error, "check-failed");
            }
        }
    }
}

fn reject_where<'a>(
    work: &mut Work<'a>,
    round: &mut Round<'a>,
    why: &str,
    may: impl Fn(Conversation, u64) -> bool,
) {
    let conversation = work.conversation;
    work.items.retain(|item| {
        let allowed = may(conversation, item.message.sender_id);
        if !allowed {
            round.reject(item, Code::PermissionDenied, why);
        }
        allowed
    });
}
