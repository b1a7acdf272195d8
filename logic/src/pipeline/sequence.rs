//! Merging duplicates within a batch, then ids and dense sequence numbers. Pure but for the ids it is given.
use std::collections::HashMap;

use bytes::Bytes;
use gochat_proto::common::v1::Message;
use gochat_proto::repo::v1::ConversationBatch;

use super::decode::Inbound;
use super::dedupe::Place;
use super::owner::State;
use super::round::Work;
use crate::domain::conversation::Conversation;
use gochat_proto::downstream as encode;

/// A message to save, and the later ones of the batch under the same key.
pub(crate) struct Leader<'a> {
    pub item: &'a Inbound,
    pub followers: Vec<&'a Inbound>,
    pub place: Place,
    /// For its delivery, encoded while it is at hand.
    pub message: Bytes,
}

/// The part of a save that concerns one conversation.
pub(crate) struct Plan<'a> {
    pub id: &'a str,
    pub conversation: Conversation,
    pub partition: u32,
    pub group_version: u64,
    pub leaders: Vec<Leader<'a>>,
}

impl<'a> Plan<'a> {
    /// All messages of the plan, those to save and those merged with them.
    pub(crate) fn items(&self) -> impl Iterator<Item = &'a Inbound> {
        self.leaders
            .iter()
            .flat_map(|leader| std::iter::once(leader.item).chain(leader.followers.iter().copied()))
    }
}

/// Numbers a conversation's messages from the last seq on. Fails only when `ids` does.
pub(crate) fn number<'a, E>(
    work: &Work<'a>,
    state: &State,
    now_ms: i64,
    mut ids: impl FnMut() -> Result<u64, E>,
) -> Result<(Plan<'a>, ConversationBatch), E> {
    let mut leaders: Vec<Leader<'a>> = Vec::with_capacity(work.items.len());
    let mut messages = Vec::with_capacity(work.items.len());
    let mut keys = HashMap::with_capacity(if work.items.len() > 1 { work.items.len() } else { 0 });
    for item in &work.items {
        if work.items.len() > 1 {
            let first = *keys
                .entry((item.message.sender_id, item.message.client_msg_id.as_str()))
                .or_insert(leaders.len());
            if let Some(leader) = leaders.get_mut(first) {
                leader.followers.push(item);
                continue;
            }
        }
        let place = Place { message_id: ids()?, seq_id: state.last_seq + leaders.len() as u64 + 1 };
        let message = Message {
            message_id: place.message_id,
            conversation_id: item.message.conversation_id.clone(),
            sender_id: item.message.sender_id,
            content: item.message.content.clone(),
            message_type: item.message.message_type,
            seq_id: place.seq_id,
            client_msg_id: item.message.client_msg_id.clone(),
            created_at_ms: now_ms,
        };
        let encoded = encode::message(&message);
        leaders.push(Leader { item, followers: Vec::new(), place, message: encoded });
        messages.push(message);
    }
    let is_group = matches!(work.conversation, Conversation::Group(_));
    let batch = ConversationBatch {
        conversation_id: work.id.to_owned(),
        expected_last_seq: state.last_seq,
        group_version: is_group.then_some(state.group_version),
        messages,
    };
    let plan = Plan {
        id: work.id,
        conversation: work.conversation,
        partition: work.partition,
        group_version: state.group_version,
        leaders,
    };
    Ok((plan, batch))
}
