//! What users who are online learn of a change at once. It is best effort: nothing that can fail here fails the
//! change, which is stored, and which they see at their next look.
//!
//! Of a large group only those are told whom the change itself concerns: who joined or left, and the reader's own
//! devices. The other hundred thousand learn it when they look.
use std::collections::{HashMap, HashSet};

use gochat_proto::queue::v1::conversation_updated::Change;
use gochat_proto::queue::v1::{ConversationUpdated, Receipt};

use crate::domain::conversation::Conversation;
use crate::downstream::Downstream;
use crate::routes::GroupRoute;

/// Tells the members of a group that some of them are new, and those that they joined.
pub(super) async fn joined(downstream: &Downstream, group_id: u64, version: u64, added: &HashSet<u64>) {
    let members = match downstream.routes().of_group(group_id, version).await {
        Ok(GroupRoute::Small(members)) => members,
        Ok(GroupRoute::Large) => return tell_users(downstream, group_id, Change::Joined, added).await,
        Err(error) => return downstream.lost_routes(&error),
    };
    let tell = |change: Change, is_new: bool| {
        let update = updated(group_id, change);
        Downstream::to_members(
            &members,
            |user, _| added.contains(&user) == is_new,
            |gateway, users| downstream.updated(gateway, &update, users),
        );
    };
    tell(Change::Joined, true);
    tell(Change::Members, false);
}

/// Tells the members of a group that somebody left, and him that he did.
pub(super) async fn left(downstream: &Downstream, group_id: u64, version: u64, user_id: u64) {
    tell_users(downstream, group_id, Change::Left, &HashSet::from([user_id])).await;
    joined(downstream, group_id, version, &HashSet::new()).await;
}

/// Tells these users, wherever they are, and nobody else. One request names a bounded number of them.
async fn tell_users(downstream: &Downstream, group_id: u64, change: Change, users: &HashSet<u64>) {
    let update = updated(group_id, change);
    match downstream.routes().of_users(users).await {
        Ok(routes) => {
            let mut by_gateway: HashMap<_, Vec<u64>> = HashMap::new();
            for (user, route) in &routes {
                route.iter().for_each(|gateway| by_gateway.entry(gateway).or_default().push(*user));
            }
            for (gateway, users) in by_gateway {
                downstream.updated(gateway, &update, &users);
            }
        }
        Err(error) => downstream.lost_routes_of_users(&error, users),
    }
}

/// A read pointer moved: in a single conversation both users see it, in a group its members, in world and in a large
/// group only the reader's own devices.
pub(super) async fn read(
    downstream: &Downstream,
    id: String,
    conversation: Conversation,
    reader_id: u64,
    read_seq: u64,
) {
    let receipt = Receipt { conversation_id: id, reader_id, read_seq, user_ids: Vec::new() };
    let users = match conversation {
        Conversation::Single { lo, hi } => HashSet::from([lo, hi]),
        Conversation::World => HashSet::from([reader_id]),
        Conversation::Group(group_id) => {
            // A lost receipt is made good by the next one.
            match downstream.routes().of_group(group_id, 0).await {
                Ok(GroupRoute::Small(members)) => {
                    return Downstream::to_members(
                        &members,
                        |_, joined_seq| joined_seq < read_seq,
                        |gateway, users| downstream.receipt(gateway, &receipt, users),
                    );
                }
                Ok(GroupRoute::Large) => HashSet::from([reader_id]),
                Err(_) => return,
            }
        }
    };
    let Ok(routes) = downstream.routes().of_users(&users).await else { return };
    for (user, route) in routes {
        for gateway in route.iter() {
            downstream.receipt(gateway, &receipt, &[user]);
        }
    }
}

fn updated(group_id: u64, change: Change) -> ConversationUpdated {
    ConversationUpdated {
        conversation_id: Conversation::Group(group_id).to_string(),
        change: change.into(),
        user_ids: Vec::new(),
    }
}
