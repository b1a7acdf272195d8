//! The form of what is asked: ids, lists within their bounds, page sizes.
use std::collections::HashSet;

use gochat_proto::common::v1::Message;
use gochat_proto::repo::v1::ConversationBatch;

use crate::config::LimitsConfig;
use crate::store::conversation_id::ConversationId;
use crate::store::{Result, refuse};

/// A list that must not be longer than `max`.
pub(super) fn length(count: usize, max: usize, what: &str) -> Result<()> {
    match count <= max {
        true => Ok(()),
        false => Err(refuse::invalid(format!("{count} {what} at once are too many, {max} are allowed"))),
    }
}

/// Ids that can be stored, no more than `max` of them.
pub(super) fn ids(ids: &[u64], max: usize, what: &str) -> Result<()> {
    length(ids.len(), max, what)?;
    ids.iter().try_for_each(|&id| refuse::id(id, what).map(drop))
}

/// The size of a page: the default when it is not said, and never above the bound.
pub(super) fn page(limit: u32, limits: &LimitsConfig) -> u32 {
    match limit {
        0 => limits.page_default,
        asked => asked.min(limits.page_max),
    }
    .max(1)
}

/// A batch whose messages can be judged: dense seqs, sound ids, nothing twice.
pub(super) fn batch(batch: &ConversationBatch, limits: &LimitsConfig) -> Result<()> {
    let ConversationBatch { conversation_id, expected_last_seq, messages, .. } = batch;
    let Some(parsed) = ConversationId::parse(conversation_id) else {
        return Err(refuse::invalid(format!("{conversation_id:?} is not a conversation id")));
    };
    if messages.is_empty() {
        return Err(refuse::invalid("a conversation without messages"));
    }
    if *expected_last_seq > i64::MAX as u64 - messages.len() as u64 {
        return Err(refuse::invalid("seqs end at 2^63 - 1"));
    }
    let mut ids = HashSet::with_capacity(messages.len());
    let mut keys = HashSet::with_capacity(messages.len());
    for (message, seq) in messages.iter().zip(expected_last_seq + 1..) {
        check_message(message, parsed, limits)?;
        if message.conversation_id != *conversation_id || message.seq_id != seq {
            return Err(refuse::invalid("messages must be of their batch's conversation, with dense seqs"));
        }
        if !ids.insert(message.message_id) || !keys.insert((message.sender_id, &message.client_msg_id)) {
            return Err(refuse::invalid("a message id or client message id is twice in one batch"));
        }
    }
    Ok(())
}

fn check_message(message: &Message, conversation: ConversationId, limits: &LimitsConfig) -> Result<()> {
    refuse::id(message.message_id, "a message id")?;
    refuse::id(message.seq_id, "a seq")?;
    refuse::id(message.sender_id, "a sender's id")?;
    if message.content.len() > limits.content_max_bytes {
        return Err(refuse::invalid("the content is too long to be stored"));
    }
    let key = message.client_msg_id.as_bytes();
    let sound = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if !(1..=64).contains(&key.len()) || !key.iter().all(sound) {
        return Err(refuse::invalid("a client message id is 1 to 64 of A-Z a-z 0-9 _ -"));
    }
    if matches!(conversation, ConversationId::Single(..)) && conversation.peer_of(message.sender_id).is_none()
    {
        return Err(refuse::invalid("the sender is not one of this conversation's two users"));
    }
    Ok(())
}
