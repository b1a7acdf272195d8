//! What the store knows of the conversations that this owner does not: their last seqs, and which of their
//! messages are stored already.
//!
//! For a conversation that the owner knows nothing is asked: a re-send that slips through makes the save say
//! "duplicate", the conversation is forgotten, and the next attempt comes through here.
use std::collections::HashMap;
use std::time::Instant;

use gochat_infra::errors::Error;
use gochat_infra::rpc;
use gochat_infra::telemetry::{TROUBLE_LINE_PERIOD, Trouble};
use gochat_proto::common::v1::Message;
use gochat_proto::repo::v1::conversation_repo_client::ConversationRepoClient;
use gochat_proto::repo::v1::message_repo_client::MessageRepoClient;
use gochat_proto::repo::v1::{ClientKey, FindMessagesRequest, GetConversationStatesRequest};

use super::decode::Inbound;
use super::dedupe::{Key, Place};
use super::owner::{Owner, State};
use super::round::{Delivery, Round, Work};
use gochat_proto::downstream as encode;

static TROUBLE: Trouble = Trouble::new(TROUBLE_LINE_PERIOD);

/// After this every work with messages has a state in `owner`, and no message that was stored before.
pub(crate) async fn look_up<'a>(
    works: &mut [Work<'a>],
    owner: &mut Owner,
    conversations: &ConversationRepoClient<rpc::Client>,
    messages: &MessageRepoClient<rpc::Client>,
    round: &mut Round<'a>,
) {
    let mut unknown: Vec<&mut Work<'a>> =
        works.iter_mut().filter(|work| !work.items.is_empty() && owner.get(work.id).is_none()).collect();
    if unknown.is_empty() {
        return;
    }
    match ask(&unknown, conversations.clone(), messages.clone()).await {
        Ok((states, found)) => {
            if let Some(left_out) = TROUBLE.over() {
                tracing::info!(left_out, "conversations can be read again");
            }
            let stored = found.iter().map(|message| (key_of(message), message)).collect();
            for (work, state) in unknown.iter_mut().zip(states) {
                let version = state.group_version;
                owner.learn(work.id, work.partition, state);
                settle_stored(work, version, &stored, round);
            }
        }
        Err(error) => {
            if let Some(left_out) = TROUBLE.line(Instant::now()) {
                tracing::warn!(%error, conversations = unknown.len(), left_out, "conversations could not be read");
            }
            for work in unknown {
                round.failed(work.items.drain(..), &error, "read-failed");
            }
        }
    }
}

async fn ask(
    unknown: &[&mut Work<'_>],
    mut conversations: ConversationRepoClient<rpc::Client>,
    mut messages: MessageRepoClient<rpc::Client>,
) -> Result<(Vec<State>, Vec<Message>), Error> {
    let conversation_ids: Vec<String> = unknown.iter().map(|work| work.id.to_owned()).collect();
    let asked = conversation_ids.len();
    let keys = unknown.iter().flat_map(|work| work.items.iter()).map(|item| client_key(item)).collect();
    // States first: a message stored between the two reads is then found, or makes the save stale.
    let states =
        conversations.get_conversation_states(GetConversationStatesRequest { conversation_ids }).await?;
    let found = messages.find_messages(FindMessagesRequest { keys }).await?;
    let states: Vec<State> = states
        .into_inner()
        .states
        .into_iter()
        .map(|state| State {
            exists: state.exists,
            last_seq: state.last_seq,
            group_version: state.group_version,
            ..State::default()
        })
        .collect();
    if states.len() != asked {
        return Err(Error::internal("the store answered for another number of conversations"));
    }
    Ok((states, found.into_inner().messages))
}

fn client_key(item: &Inbound) -> ClientKey {
    ClientKey {
        conversation_id: item.message.conversation_id.clone(),
        sender_id: item.message.sender_id,
        client_msg_id: item.message.client_msg_id.clone(),
    }
}

/// A message that is stored already gets its ack, and its delivery once more: a crash may have swallowed both.
fn settle_stored<'a>(
    work: &mut Work<'a>,
    group_version: u64,
    stored: &HashMap<Key<'_>, &Message>,
    round: &mut Round<'a>,
) {
    let conversation = work.conversation;
    work.items.retain(|item| {
        let Some(message) = stored.get(&item.key()) else { return true };
        if item.content() != (&message.content, message.message_type) {
            round.conflict(item);
            return false;
        }
        let place = Place { message_id: message.message_id, seq_id: message.seq_id };
        round.stored(item, place, "repeated");
        round.deliveries.push(Delivery {
            conversation,
            seq_id: message.seq_id,
            group_version,
            message: encode::message(message),
        });
        false
    });
}

fn key_of(message: &Message) -> Key<'_> {
    Key {
        conversation_id: &message.conversation_id,
        sender_id: message.sender_id,
        client_msg_id: &message.client_msg_id,
    }
}
