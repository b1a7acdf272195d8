//! Lists, history, read pointers and heads; groups are next door.
use std::collections::HashMap;

use gochat_infra::errors::{Code, Error};
use gochat_infra::idgen::IdGen;
use gochat_infra::rpc;
use gochat_proto::common::v1::Head;
use gochat_proto::logic::v1::conversation_service_server::ConversationService;
use gochat_proto::logic::v1::{
    AddGroupMembersRequest, CreateGroupRequest, CreateGroupResponse, GetConversationMessagesRequest,
    GetConversationMessagesResponse, GetConversationsRequest, GetConversationsResponse,
    GetGroupMembersRequest, GetGroupMembersResponse, GetHeadsRequest, GetHeadsResponse, MarkAsReadRequest,
    MarkAsReadResponse, RemoveGroupMemberRequest,
};
use gochat_proto::repo::v1 as repo;
use gochat_proto::repo::v1::conversation_repo_client::ConversationRepoClient;
use gochat_proto::repo::v1::group_repo_client::GroupRepoClient;
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use tonic::{Request, Response, Status};

use super::{answer, notify};
use crate::config::LimitsConfig;
use crate::domain::conversation::Conversation;
use crate::domain::{Invalid, page};
use crate::downstream::Downstream;
use crate::events::Events;

/// ConversationService.
#[derive(Clone)]
pub(crate) struct Conversations {
    pub(super) conversations: ConversationRepoClient<rpc::Client>,
    pub(super) messages: MessageRepoClient<rpc::Client>,
    pub(super) groups: GroupRepoClient<rpc::Client>,
    pub(super) downstream: Downstream,
    pub(super) events: Events,
    pub(super) ids: IdGen,
    pub(super) limits: LimitsConfig,
}

impl Conversations {
    pub(crate) fn new(
        limits: LimitsConfig,
        repo: &rpc::Client,
        ids: IdGen,
        downstream: Downstream,
        events: Events,
    ) -> Self {
        Self {
            conversations: ConversationRepoClient::new(repo.clone()),
            messages: MessageRepoClient::new(repo.clone()),
            groups: GroupRepoClient::new(repo.clone()),
            downstream,
            events,
            ids,
            limits,
        }
    }

    async fn list(&self, asked: GetConversationsRequest) -> Result<GetConversationsResponse, Error> {
        let after = page::decode_conversation(&asked.cursor)?;
        let request = repo::GetUserConversationsRequest {
            user_id: asked.user_id,
            before_updated_at_ms: after.updated_at_ms,
            before_conversation_id: after.conversation_id,
            limit: self.page_limit(asked.limit),
        };
        let found = self.conversations.clone().get_user_conversations(request).await?.into_inner();
        let next_cursor = match found.conversations.last() {
            Some(last) if found.has_more => {
                page::encode_conversation(last.updated_at_ms, &last.conversation_id)
            }
            _ => String::new(),
        };
        Ok(GetConversationsResponse { conversations: found.conversations, next_cursor })
    }

    async fn history(
        &self,
        asked: GetConversationMessagesRequest,
    ) -> Result<GetConversationMessagesResponse, Error> {
        readable(&asked.conversation_id, asked.user_id)?;
        if asked.after_seq.is_some() && asked.before_seq.is_some() {
            let reason = "Please give after_seq or before_seq, not both.";
            return Err(Invalid::new("before_seq", reason).into());
        }
        let request = repo::GetMembershipRequest {
            conversation_id: asked.conversation_id.clone(),
            user_id: asked.user_id,
        };
        let membership = self.conversations.clone().get_membership(request).await?.into_inner();
        let request = repo::GetConversationMessagesRequest {
            conversation_id: asked.conversation_id,
            after_seq: asked.after_seq,
            before_seq: asked.before_seq,
            limit: self.page_limit(asked.limit),
            min_seq: membership.joined_seq + 1,
            max_seq: membership.left_seq,
        };
        let found = self.messages.clone().get_conversation_messages(request).await?.into_inner();
        Ok(GetConversationMessagesResponse {
            messages: found.messages,
            has_more: found.has_more,
            epoch: membership.epoch,
        })
    }

    async fn mark_as_read(&self, asked: MarkAsReadRequest) -> Result<MarkAsReadResponse, Error> {
        let conversation = readable(&asked.conversation_id, asked.user_id)?;
        let request = repo::MarkReadRequest {
            conversation_id: asked.conversation_id.clone(),
            user_id: asked.user_id,
            seq_id: asked.seq_id,
        };
        let marked = self.conversations.clone().mark_read(request).await?.into_inner();
        if marked.moved {
            let id = asked.conversation_id;
            notify::read(&self.downstream, id, conversation, asked.user_id, marked.read_seq).await;
        }
        Ok(MarkAsReadResponse { read_seq: marked.read_seq })
    }

    /// For user 0 only the epoch is answered: a gateway asks so before it has a user.
    async fn heads(&self, asked: GetHeadsRequest) -> Result<GetHeadsResponse, Error> {
        if asked.user_id == 0 {
            let epoch = self.conversations.clone().get_epoch(()).await?.into_inner().epoch;
            return Ok(GetHeadsResponse { changed: Vec::new(), epoch });
        }
        if asked.known.len() > self.limits.heads_per_request {
            let reason = format!("At most {} conversations may be named.", self.limits.heads_per_request);
            return Err(Invalid::new("conversations", reason).into());
        }
        let request = repo::GetUserHeadsRequest { user_id: asked.user_id };
        let now = self.conversations.clone().get_user_heads(request).await?.into_inner();
        Ok(GetHeadsResponse { changed: changed(&asked.known, now.heads), epoch: now.epoch })
    }

    pub(super) fn page_limit(&self, asked: u32) -> u32 {
        page::limit(asked, self.limits.page_default, self.limits.page_max)
    }
}

/// Those of `now`, in its order, that the client has otherwise; one that it does not name counts as empty.
fn changed(known: &[Head], now: Vec<Head>) -> Vec<Head> {
    let known: HashMap<&str, u64> =
        known.iter().map(|head| (head.conversation_id.as_str(), head.last_seq)).collect();
    let has = |head: &Head| known.get(head.conversation_id.as_str()).copied().unwrap_or(0) == head.last_seq;
    now.into_iter().filter(|head| !has(head)).collect()
}

/// Refuses what the id alone refuses; membership is the store's to judge.
fn readable(conversation_id: &str, user_id: u64) -> Result<Conversation, Error> {
    let Some(conversation) = Conversation::parse(conversation_id) else {
        let reason = "A conversation id is single_{lo}_{hi}, group_{id} or world.";
        return Err(Invalid::new("conversationId", reason).into());
    };
    match conversation.may_include(user_id) {
        true => Ok(conversation),
        false => Err(Error::new(Code::PermissionDenied, "This conversation belongs to others.")),
    }
}

#[tonic::async_trait]
impl ConversationService for Conversations {
    async fn get_conversations(
        &self,
        request: Request<GetConversationsRequest>,
    ) -> Result<Response<GetConversationsResponse>, Status> {
        answer(self.list(request.into_inner()).await)
    }

    async fn get_conversation_messages(
        &self,
        request: Request<GetConversationMessagesRequest>,
    ) -> Result<Response<GetConversationMessagesResponse>, Status> {
        answer(self.history(request.into_inner()).await)
    }

    async fn mark_as_read(
        &self,
        request: Request<MarkAsReadRequest>,
    ) -> Result<Response<MarkAsReadResponse>, Status> {
        answer(self.mark_as_read(request.into_inner()).await)
    }

    async fn create_group(
        &self,
        request: Request<CreateGroupRequest>,
    ) -> Result<Response<CreateGroupResponse>, Status> {
        answer(self.create_group(request.into_inner()).await)
    }

    async fn get_group_members(
        &self,
        request: Request<GetGroupMembersRequest>,
    ) -> Result<Response<GetGroupMembersResponse>, Status> {
        answer(self.group_members(request.into_inner()).await)
    }

    async fn add_group_members(
        &self,
        request: Request<AddGroupMembersRequest>,
    ) -> Result<Response<()>, Status> {
        answer(self.add_members(request.into_inner()).await)
    }

    async fn remove_group_member(
        &self,
        request: Request<RemoveGroupMemberRequest>,
    ) -> Result<Response<()>, Status> {
        answer(self.remove_member(request.into_inner()).await)
    }

    async fn get_heads(
        &self,
        request: Request<GetHeadsRequest>,
    ) -> Result<Response<GetHeadsResponse>, Status> {
        answer(self.heads(request.into_inner()).await)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_head_is_changed_when_the_client_has_another_seq_or_none() {
        let heads = |list: &[(&str, u64)]| -> Vec<Head> {
            list.iter().map(|(id, seq)| Head { conversation_id: (*id).into(), last_seq: *seq }).collect()
        };
        let known = heads(&[("world", 5), ("single_1_2", 3), ("group_9", 9)]);
        let now =
            heads(&[("single_1_3", 1), ("group_9", 8), ("world", 5), ("single_1_2", 4), ("group_4", 0)]);
        let expect = heads(&[("single_1_3", 1), ("group_9", 8), ("single_1_2", 4)]);
        assert_eq!(changed(&known, now), expect);
    }
}
