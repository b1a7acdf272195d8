//! The calls behind `heads`, `sync` and `mark-read`, with their answers rendered.

use gochat_infra::errors::Error;
use gochat_proto::{
    common::v1::{Head, Message},
    logic::v1::{GetConversationMessagesRequest, GetHeadsRequest, MarkAsReadRequest},
};

use super::Clients;
use crate::{
    config::RequestConfig,
    protocol::{
        inbound::{MarkRead, Sync},
        json,
        outbound::{self, Page, message_members},
    },
    session::HeadsRequest,
    time::unix_ms,
};

/// What a request on a connection ended with.
#[derive(Debug)]
pub(crate) enum Answer {
    /// Frames for the connection.
    Frames(Vec<Vec<u8>>),
    /// The same, and the heads that they told of.
    Heads { frames: Vec<Vec<u8>>, changed: Vec<Head>, epoch: u64 },
    /// An error for the connection, under the request's id.
    Failed { id: Option<Box<str>>, error: Box<Error> },
}

impl Answer {
    fn of(id: Option<Box<str>>, outcome: Result<Answer, Error>) -> Answer {
        outcome.unwrap_or_else(|error| Answer::Failed { id, error: Box::new(error) })
    }
}

pub(crate) async fn heads(
    clients: Clients,
    user_id: u64,
    asked: HeadsRequest,
    limits: RequestConfig,
) -> Answer {
    let id = asked.id.clone();
    Answer::of(id, Box::pin(try_heads(clients, user_id, asked, &limits)).await)
}

async fn try_heads(
    mut clients: Clients,
    user_id: u64,
    asked: HeadsRequest,
    limits: &RequestConfig,
) -> Result<Answer, Error> {
    let request = GetHeadsRequest { user_id, known: asked.known.clone() };
    let found = clients.conversations.get_heads(request).await?.into_inner();
    let mut changed = found.changed;
    let fitting = outbound::heads_that_fit(&changed, limits.heads_answer_max_bytes);
    let more = fitting < changed.len();
    changed.truncate(fitting);
    let mut frames = vec![outbound::heads(asked.id.as_deref(), &changed, more, found.epoch, unix_ms())];
    let Some(limit) = asked.page_limit else {
        return Ok(Answer::Heads { frames, changed, epoch: found.epoch });
    };
    let mut bytes = frames[0].len();
    for head in changed.iter().take(limits.heads_pages_max) {
        let known = asked.known.iter().find(|known| known.conversation_id == head.conversation_id);
        let after = known.map_or(0, |known| known.last_seq);
        let room = limits.page_max_bytes.min(limits.heads_answer_max_bytes.saturating_sub(bytes));
        if room < 1024 {
            break;
        }
        let wanted =
            Sync { conversation_id: head.conversation_id.clone(), after_seq: after, limit: Some(limit) };
        let page = match page(&mut clients, user_id, wanted, limit, room, None).await {
            Ok(page) => page,
            // What is missing the client fetches by itself; what is there is worth sending.
            Err(_) => break,
        };
        bytes += page.len();
        frames.push(page);
    }
    Ok(Answer::Heads { frames, changed, epoch: found.epoch })
}

pub(crate) async fn sync(
    mut clients: Clients,
    user_id: u64,
    id: Option<Box<str>>,
    wanted: Sync,
    limits: RequestConfig,
) -> Answer {
    let limit = wanted.limit.unwrap_or(limits.page_default);
    let page = page(&mut clients, user_id, wanted, limit, limits.page_max_bytes, id.as_deref()).await;
    Answer::of(id, page.map(|page| Answer::Frames(vec![page])))
}

async fn page(
    clients: &mut Clients,
    user_id: u64,
    wanted: Sync,
    limit: u32,
    max_bytes: usize,
    id: Option<&str>,
) -> Result<Vec<u8>, Error> {
    let request = GetConversationMessagesRequest {
        user_id,
        conversation_id: wanted.conversation_id.clone(),
        after_seq: Some(wanted.after_seq),
        before_seq: None,
        limit,
    };
    let found = clients.conversations.get_conversation_messages(request).await?.into_inner();
    let fitting = fitting(&found.messages, max_bytes);
    let page = Page {
        conversation_id: &wanted.conversation_id,
        messages: &found.messages[..fitting],
        has_more: found.has_more || fitting < found.messages.len(),
        epoch: found.epoch,
    };
    Ok(outbound::sync_page(id, &page, unix_ms()))
}

/// How many of the messages fit a page of `max_bytes`; at least one, or the client would never get on.
fn fitting(messages: &[Message], max_bytes: usize) -> usize {
    let mut scratch = Vec::new();
    let mut bytes = 0;
    for (index, message) in messages.iter().enumerate() {
        scratch.clear();
        json::object(&mut scratch, |entry| message_members(entry, message));
        bytes += scratch.len() + 1;
        if bytes > max_bytes && index > 0 {
            return index;
        }
    }
    messages.len()
}

pub(crate) async fn mark_read(
    mut clients: Clients,
    user_id: u64,
    id: Option<Box<str>>,
    mark: MarkRead,
) -> Answer {
    let conversation_id = mark.conversation_id;
    let request =
        MarkAsReadRequest { user_id, conversation_id: conversation_id.clone(), seq_id: mark.seq_id };
    let outcome = clients.conversations.mark_as_read(request).await.map_err(Error::from).map(|answer| {
        let seq = answer.into_inner().read_seq;
        // Without an id nobody waits for this answer: the receipt comes to all devices anyway.
        let receipt =
            id.as_deref().map(|id| outbound::own_receipt(id, &conversation_id, user_id, seq, unix_ms()));
        Answer::Frames(receipt.into_iter().collect())
    });
    Answer::of(id, outcome)
}

/// Compares heads once more: those that differ from what the client was told.
pub(crate) async fn recheck(mut clients: Clients, user_id: u64, told: Vec<Head>) -> Result<Vec<Head>, Error> {
    let request = GetHeadsRequest { user_id, known: told };
    Ok(clients.conversations.get_heads(request).await?.into_inner().changed)
}

/// The store's epoch, which `hello` tells. User ids begin at 1: nobody's heads are asked for.
pub(crate) async fn epoch(mut clients: Clients) -> Result<u64, Error> {
    let request = GetHeadsRequest { user_id: 0, known: Vec::new() };
    Ok(clients.conversations.get_heads(request).await?.into_inner().epoch)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_are_cut_by_bytes_after_at_least_one_message() {
        let message = |content: &str| Message { content: content.into(), ..Message::default() };
        let messages = [message(&"x".repeat(500)), message(&"\n".repeat(500)), message("short")];
        assert_eq!(fitting(&messages, 10), 1);
        assert_eq!(fitting(&messages, 1000), 1);
        assert_eq!(fitting(&messages, 1800), 2);
        assert_eq!(fitting(&messages, 10_000), 3);
        assert_eq!(fitting(&[], 10), 0);
    }
}
