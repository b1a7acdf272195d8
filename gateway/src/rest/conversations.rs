//! /api/conversations*

use gochat_infra::errors::Error;
use gochat_proto::{
    logic::v1::{GetConversationMessagesRequest, GetConversationsRequest, MarkAsReadRequest},
    repo::v1::{ConversationSummary, ConversationType},
};

use super::{Answer, Call, Caller, Work, invalid, work};
use crate::protocol::{
    conversation::is_conversation_id,
    json::{self, Object},
    outbound::message_members,
};

/// GET /api/conversations
pub(crate) fn list(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut query = call.query()?;
    let request = GetConversationsRequest {
        user_id: caller.sub,
        cursor: query.take("cursor").unwrap_or_default(),
        limit: query.limit(call.limits.page_default, call.limits.page_max)?,
    };
    query.finish()?;
    work(move |mut clients| async move {
        let page = clients.conversations.get_conversations(request).await?.into_inner();
        Ok(Answer::json(200, |body| {
            body.array("conversations", &page.conversations, |out, conversation| {
                json::object(out, |entry| summary_members(entry, conversation));
            });
            cursor_member(body, &page.next_cursor);
        }))
    })
}

fn summary_members(entry: &mut Object<'_>, conversation: &ConversationSummary) {
    entry.str("conversationId", &conversation.conversation_id);
    let kind = match conversation.r#type() {
        ConversationType::Single | ConversationType::Unspecified => "single",
        ConversationType::Group => "group",
        ConversationType::World => "world",
    };
    entry.str("type", kind);
    entry.str("name", &conversation.name);
    match &conversation.last_message {
        Some(message) => entry.object("lastMessage", |inner| message_members(inner, message)),
        None => entry.raw("lastMessage", b"null"),
    }
    entry.u64("lastSeq", conversation.last_seq);
    entry.u64("readSeq", conversation.read_seq);
    entry.u64("unreadCount", conversation.unread_count);
    entry.time("updatedAt", conversation.updated_at_ms);
    if let Some(seq) = conversation.peer_read_seq {
        entry.u64("peerReadSeq", seq);
    }
    entry.bool("left", conversation.left);
}

/// Null on the last page.
pub(super) fn cursor_member(body: &mut Object<'_>, cursor: &str) {
    if cursor.is_empty() {
        body.raw("nextCursor", b"null");
    } else {
        body.str("nextCursor", cursor);
    }
}

/// GET /api/conversations/:id/messages
pub(crate) fn messages(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut query = call.query()?;
    let request = GetConversationMessagesRequest {
        user_id: caller.sub,
        conversation_id: conversation_id(call)?,
        after_seq: query.seq("after_seq")?,
        before_seq: query.seq("before_seq")?,
        limit: query.limit(call.limits.page_default, call.limits.page_max)?,
    };
    query.finish()?;
    if request.after_seq.is_some() && request.before_seq.is_some() {
        return Err(invalid("the query must not have both after_seq and before_seq"));
    }
    work(move |mut clients| async move {
        let page = clients.conversations.get_conversation_messages(request).await?.into_inner();
        Ok(Answer::json(200, |body| {
            body.array("messages", &page.messages, |out, message| {
                json::object(out, |entry| message_members(entry, message));
            });
            body.bool("hasMore", page.has_more);
        }))
    })
}

/// POST /api/conversations/:id/read
pub(crate) fn mark_read(call: &Call<'_>, caller: Caller<'_>) -> Result<Work, Error> {
    let mut body = call.body()?;
    let request = MarkAsReadRequest {
        user_id: caller.sub,
        conversation_id: conversation_id(call)?,
        seq_id: body.u64("seqId")?,
    };
    body.finish()?;
    work(move |mut clients| async move {
        clients.conversations.mark_as_read(request).await?;
        Ok(Answer::empty())
    })
}

fn conversation_id(call: &Call<'_>) -> Result<String, Error> {
    let id = call.params[0];
    if is_conversation_id(id) {
        return Ok(id.to_owned());
    }
    Err(invalid("the conversation id in the path must be world, group_{id} or single_{lo}_{hi}"))
}
