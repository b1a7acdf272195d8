//! One attempt at the open messages of a batch: what the steps pass on, and what they leave behind.
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use gochat_infra::errors::{Code, Error};
use gochat_proto::queue::v1::{Ack, UpstreamMessage, ack};

use super::decode::Inbound;
use super::dedupe::Place;
use crate::domain::conversation::Conversation;
use gochat_proto::downstream as encode;

/// A stored message on its way out.
#[derive(Debug)]
pub(crate) struct Delivery {
    pub conversation: Conversation,
    pub seq_id: u64,
    /// Groups: the membership version that it was saved at, or is repeated at.
    pub group_version: u64,
    /// See [`encode::message`].
    pub message: Bytes,
}

/// The final answer to one send, as a record for its gateway.
#[derive(Debug)]
pub(crate) struct Reply {
    pub gateway_slot: u32,
    pub record: Bytes,
}

impl Reply {
    pub(crate) fn rejected(to: &UpstreamMessage, code: Code, reason: &str) -> Self {
        Self::new(to, |ack| {
            ack.set_status(ack::Status::Rejected);
            ack.code = code.number();
            ack.reason = reason.to_owned();
        })
    }

    fn new(to: &UpstreamMessage, fill: impl FnOnce(&mut Ack)) -> Self {
        let mut ack = Ack {
            user_id: to.sender_id,
            connection_id: to.connection_id,
            client_msg_id: to.client_msg_id.clone(),
            conversation_id: to.conversation_id.clone(),
            ..Ack::default()
        };
        fill(&mut ack);
        Self { gateway_slot: to.gateway_slot, record: encode::ack(&to.gateway_instance, ack) }
    }
}

/// What the store says of a call that can never succeed, in words for the sender.
#[derive(Clone, Debug)]
pub(crate) struct Refusal {
    pub code: Code,
    pub reason: Arc<str>,
}

/// What one attempt settled, and what it left open.
#[derive(Default)]
pub(crate) struct Round<'a> {
    pub deliveries: Vec<Delivery>,
    pub replies: Vec<Reply>,
    /// Messages that need another attempt.
    pub open: Vec<&'a Inbound>,
    /// Messages of calls that the store refused for good: at least one of them can never succeed.
    pub refused: Vec<(&'a Inbound, Refusal)>,
    /// The store could not be asked or did not answer: wait before the next attempt.
    pub hurt: bool,
    /// Records by what became of them.
    pub outcomes: BTreeMap<&'static str, u64>,
    /// Messages left open, by reason.
    pub retries: BTreeMap<&'static str, u64>,
}

impl<'a> Round<'a> {
    pub(crate) fn stored(&mut self, item: &Inbound, place: Place, outcome: &'static str) {
        *self.outcomes.entry(outcome).or_default() += 1;
        self.replies.push(Reply::new(&item.message, |ack| {
            ack.set_status(ack::Status::Stored);
            ack.message_id = place.message_id;
            ack.seq_id = place.seq_id;
        }));
    }

    pub(crate) fn reject(&mut self, item: &Inbound, code: Code, reason: &str) {
        *self.outcomes.entry(code.name()).or_default() += 1;
        self.replies.push(Reply::rejected(&item.message, code, reason));
    }

    pub(crate) fn conflict(&mut self, item: &Inbound) {
        self.reject(item, Code::DuplicateMessage, "Another message was sent with this clientMsgId.");
    }

    /// A call about these messages failed. What may pass leaves them open; what never will makes them suspects.
    pub(crate) fn failed(
        &mut self,
        items: impl IntoIterator<Item = &'a Inbound>,
        error: &Error,
        reason: &'static str,
    ) {
        if !matches!(error.code, Code::InvalidInput | Code::TooLarge) {
            self.hurt = true;
            return self.leave_open(items, reason);
        }
        let before = self.refused.len();
        let refusal = Refusal { code: error.code, reason: error.message.as_str().into() };
        self.refused.extend(items.into_iter().map(|item| (item, refusal.clone())));
        *self.retries.entry("refused").or_default() += (self.refused.len() - before) as u64;
    }

    pub(crate) fn leave_open(&mut self, items: impl IntoIterator<Item = &'a Inbound>, reason: &'static str) {
        let before = self.open.len();
        self.open.extend(items);
        *self.retries.entry(reason).or_default() += (self.open.len() - before) as u64;
    }
}

/// The messages of one conversation in a round, in their order.
pub(crate) struct Work<'a> {
    pub id: &'a str,
    pub conversation: Conversation,
    pub partition: u32,
    pub items: Vec<&'a Inbound>,
}

/// Splits the open messages by conversation; conversations come in the order of their first message.
pub(crate) fn by_conversation<'a>(open: &[&'a Inbound]) -> Vec<Work<'a>> {
    let mut places = HashMap::<Conversation, usize>::with_capacity(open.len());
    let mut works: Vec<Work<'a>> = Vec::new();
    for item in open {
        let place = *places.entry(item.conversation).or_insert_with(|| {
            works.push(Work {
                id: &item.message.conversation_id,
                conversation: item.conversation,
                partition: item.partition,
                items: Vec::new(),
            });
            works.len() - 1
        });
        works[place].items.push(item);
    }
    works
}
