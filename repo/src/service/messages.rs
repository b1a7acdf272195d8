//! Messages: saved by the store, then put into the cache; read from the cache where it has them all.
use std::collections::HashSet;

use gochat_infra::errors::{Code, Error};
use gochat_proto::common::v1::Message;
use gochat_proto::repo::v1::{
    ConversationBatch, FindMessagesRequest, GetConversationMessagesRequest, GetConversationMessagesResponse,
    GetMessageRequest, GetMessageResponse, GetMessagesRequest, GetMessagesResponse, SaveMessageRequest,
    SaveMessagesRequest, SaveMessagesResponse, SaveOutcome,
};

use super::{Service, check};
use crate::cache::wanted;
use crate::store::{From, MessagesQuery, Page, Result, refuse};

impl Service {
    pub(crate) async fn save_messages(&self, request: SaveMessagesRequest) -> Result<SaveMessagesResponse> {
        let outcomes = self.save(request.conversations).await?;
        Ok(SaveMessagesResponse { outcomes: outcomes.into_iter().map(i32::from).collect() })
    }

    pub(crate) async fn save_message(&self, request: SaveMessageRequest) -> Result<()> {
        let message = request.message.ok_or_else(|| refuse::invalid("no message"))?;
        let batch = ConversationBatch {
            conversation_id: message.conversation_id.clone(),
            expected_last_seq: message.seq_id.saturating_sub(1),
            group_version: request.group_version,
            messages: vec![message],
        };
        match self.save(vec![batch]).await?.first() {
            Some(SaveOutcome::Saved) => Ok(()),
            Some(SaveOutcome::Duplicate) => {
                Err(Error::new(Code::DuplicateMessage, "this client message id is stored already"))
            }
            Some(SaveOutcome::NoConversation) => Err(refuse::unknown_conversation()),
            _ => Err(refuse::stale("the conversation has changed: read its state again")),
        }
    }

    async fn save(&self, batches: Vec<ConversationBatch>) -> Result<Vec<SaveOutcome>> {
        let count = batches.iter().map(|batch| batch.messages.len()).sum();
        check::length(count, self.limits.save_messages_max, "messages")?;
        let mut names = HashSet::with_capacity(batches.len());
        for batch in &batches {
            check::batch(batch, &self.limits)?;
            if !names.insert(&batch.conversation_id) {
                return Err(refuse::invalid("a conversation is twice in one request"));
            }
        }
        if batches.is_empty() {
            return Ok(Vec::new());
        }
        let (batches, outcomes) = self.store.save_messages(batches).await?;
        for (batch, &outcome) in batches.iter().zip(&outcomes) {
            self.metrics.judged(outcome, batch.messages.len());
            if outcome == SaveOutcome::Saved {
                self.caches.keep_hot(&batch.conversation_id, &batch.messages).await;
                let reached = batch.expected_last_seq + batch.messages.len() as u64;
                self.caches.keep_reached_seq(&batch.conversation_id, reached).await;
            }
        }
        Ok(outcomes)
    }

    pub(crate) async fn get_message(&self, request: GetMessageRequest) -> Result<GetMessageResponse> {
        Ok(GetMessageResponse { message: self.store.messages(&[request.message_id]).await?.pop() })
    }

    pub(crate) async fn get_messages(&self, request: GetMessagesRequest) -> Result<GetMessagesResponse> {
        check::length(request.message_ids.len(), self.limits.lookup_max, "messages")?;
        Ok(GetMessagesResponse { messages: self.store.messages(&request.message_ids).await? })
    }

    pub(crate) async fn find_messages(&self, request: FindMessagesRequest) -> Result<GetMessagesResponse> {
        check::length(request.keys.len(), self.limits.lookup_max, "messages")?;
        Ok(GetMessagesResponse { messages: self.store.find_messages(&request.keys).await? })
    }

    pub(crate) async fn get_conversation_messages(
        &self,
        request: GetConversationMessagesRequest,
    ) -> Result<GetConversationMessagesResponse> {
        let from = match (request.after_seq, request.before_seq) {
            (None, None) => From::Newest,
            (Some(seq), None) => From::After(seq),
            (None, Some(seq)) => From::Before(seq),
            (Some(_), Some(_)) => return Err(refuse::invalid("either after_seq or before_seq")),
        };
        let query = MessagesQuery {
            from,
            limit: check::page(request.limit, &self.limits),
            min_seq: request.min_seq,
            max_seq: request.max_seq.unwrap_or(u64::MAX),
        };
        let id = &request.conversation_id;
        if let Some(page) = self.settled_page(id, &query).await {
            return Ok(GetConversationMessagesResponse { messages: page.items, has_more: page.has_more });
        }
        let head = self.store.last_seq(id).await?.ok_or_else(refuse::unknown_conversation)?;
        if let Some(page) = self.caches.hot_page(id, wanted(&query, head)).await {
            return Ok(GetConversationMessagesResponse { messages: page.items, has_more: page.has_more });
        }
        let page = self.store.conversation_messages(id, query).await?;
        let newest = head.saturating_sub(self.caches.hot_messages_max() as u64);
        if page.items.first().is_some_and(|first| first.seq_id > newest) {
            self.caches.keep_hot(id, &page.items).await;
        }
        Ok(GetConversationMessagesResponse { messages: page.items, has_more: page.has_more })
    }

    /// A page from the cache that would be the same however far the conversation goes beyond what is known, as
    /// older history is; so the database need not be asked where it ends.
    async fn settled_page(&self, conversation_id: &str, query: &MessagesQuery) -> Option<Page<Message>> {
        let reached = self.caches.reached_seq(conversation_id).await?;
        let page = wanted(query, reached);
        match page == wanted(query, i64::MAX as u64) {
            true => self.caches.hot_page(conversation_id, page).await,
            false => None,
        }
    }
}
