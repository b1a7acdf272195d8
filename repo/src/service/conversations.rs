//! Conversations as their users see them: all from the database, since heads and bounds must be the newest.
use gochat_proto::repo::v1::{
    GetConversationStatesRequest, GetConversationStatesResponse, GetEpochResponse, GetMembershipRequest,
    GetMembershipResponse, GetUserConversationsRequest, GetUserConversationsResponse, GetUserHeadsRequest,
    GetUserHeadsResponse, MarkReadRequest, MarkReadResponse,
};

use super::{Service, check};
use crate::store::{ConversationsCursor, ReadMark, Result, refuse};

impl Service {
    pub(crate) async fn get_conversation_states(
        &self,
        request: GetConversationStatesRequest,
    ) -> Result<GetConversationStatesResponse> {
        check::length(request.conversation_ids.len(), self.limits.lookup_max, "conversations")?;
        Ok(GetConversationStatesResponse {
            states: self.store.conversation_states(&request.conversation_ids).await?,
        })
    }

    pub(crate) async fn get_user_conversations(
        &self,
        request: GetUserConversationsRequest,
    ) -> Result<GetUserConversationsResponse> {
        let cursor = ConversationsCursor {
            updated_at_ms: request.before_updated_at_ms,
            conversation_id: request.before_conversation_id,
        };
        let first_page = cursor.updated_at_ms == 0 && cursor.conversation_id.is_empty();
        let after = (!first_page).then_some(&cursor);
        let limit = check::page(request.limit, &self.limits);
        let page = self.store.user_conversations(request.user_id, after, limit).await?;
        Ok(GetUserConversationsResponse { conversations: page.items, has_more: page.has_more })
    }

    pub(crate) async fn get_user_heads(&self, request: GetUserHeadsRequest) -> Result<GetUserHeadsResponse> {
        self.store.user_heads(request.user_id, self.limits.heads_max).await
    }

    pub(crate) async fn get_membership(
        &self,
        request: GetMembershipRequest,
    ) -> Result<GetMembershipResponse> {
        let found = self.store.membership(&request.conversation_id, request.user_id).await?;
        let found = found.ok_or_else(refuse::unknown_conversation)?;
        Ok(GetMembershipResponse {
            joined_seq: found.joined_seq,
            left_seq: found.left_seq,
            epoch: self.store.epoch(),
            last_seq: found.last_seq,
        })
    }

    pub(crate) async fn mark_read(&self, request: MarkReadRequest) -> Result<MarkReadResponse> {
        let MarkReadRequest { conversation_id, user_id, seq_id } = request;
        self.store.mark_read(ReadMark { conversation_id, user_id, seq: seq_id }).await
    }

    pub(crate) async fn get_epoch(&self, (): ()) -> Result<GetEpochResponse> {
        Ok(GetEpochResponse { epoch: self.store.epoch() })
    }
}
