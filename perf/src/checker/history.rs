//! What a load saw, conversation by conversation: the checker's only input.

use serde::{Deserialize, Serialize};

/// Everything that one load sent, was told and received.
#[derive(Debug, Clone, Default)]
pub struct History {
    pub conversations: Vec<ConversationHistory>,
}

/// One conversation as all of its members saw it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct ConversationHistory {
    pub id: String,
    /// The conversation's last seq before the load began; the load's messages are `base_seq + 1`, `+ 2`, …
    pub base_seq: u64,
    pub members: Vec<MemberHistory>,
}

/// One member's side: what he wrote, what reached him, and what the server says at the end.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct MemberHistory {
    pub user_id: u64,
    /// In the order in which he wrote them: a message's `n` is its index here.
    pub sends: Vec<SendRecord>,
    /// What his application was given, in that order: doubles by (conversation, seq) removed, holes filled
    /// by sync, as the protocol asks of a client.
    pub deliveries: Vec<Entry>,
    /// The final history after `base_seq`, read by sync pages when the load was over, in page order.
    pub page: Vec<Entry>,
}

/// One message of a member, and what he was told of it.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
pub struct SendRecord {
    /// When the open-loop schedule wanted it sent, µs since the load began.
    pub due_us: u64,
    /// `accepted` was seen at least once.
    pub accepted: bool,
    /// The first `stored` ack.
    pub stored: Option<Stored>,
    /// The domain code of the first `rejected` ack.
    pub rejected: Option<u32>,
    /// A later ack contradicted the first final one (other seq, other id, stored against rejected).
    pub contradicted: bool,
    /// Other members whose application was given it.
    pub given_to: u32,
}

/// The place that a `stored` ack names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stored {
    pub seq: u64,
    pub message_id: u64,
}

/// A message at its place in a conversation.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Entry {
    pub seq: u64,
    pub message_id: u64,
    /// `None`: nobody in this load wrote it, or its content is not what was written.
    pub key: Option<MessageKey>,
}

/// Which message of the load: the writer (index in `members`) and the index in his `sends`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct MessageKey {
    pub member: u32,
    pub n: u32,
}

impl SendRecord {
    /// A final answer was seen: the client may forget the message.
    pub fn is_final(&self) -> bool {
        self.stored.is_some() || self.rejected.is_some()
    }

    /// The server promised to keep it: `stored`, or `accepted` and not refused afterwards.
    pub fn is_promised(&self) -> bool {
        self.stored.is_some() || (self.accepted && self.rejected.is_none())
    }
}
