//! A record becomes a frame; pure. Rendered once on the side and shared by all receivers on all shards.

use bytes::Bytes;
use gochat_infra::errors::{Code, Error};
use gochat_proto::queue::v1::{Downstream, ack, downstream::Body};

use super::split::Place;
use crate::{protocol::outbound, upstream::unfinished::SendKey};

/// Who gets something.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum To {
    Users(Vec<u64>),
    Everyone,
}

/// A record, rendered.
#[derive(Debug)]
pub(crate) enum Rendered {
    Message {
        frame: Bytes,
        to: To,
        place: Place,
        /// A slow reader may miss it: it is told of the gap.
        droppable: bool,
    },
    /// For the connection that sent, by the number that the gateway gave upstream.
    Ack {
        frame: Bytes,
        user_id: u64,
        connection_id: u64,
        send: SendKey,
        stored: bool,
    },
    /// Anything else that users are told.
    Users {
        frame: Bytes,
        users: Vec<u64>,
    },
    Resync {
        to: To,
        spread_ms: u64,
    },
    /// A body that this version doesn't know: a newer logic sent it, and it is no use here.
    Unknown,
}

pub(crate) fn render(record: Downstream, now_ms: i64) -> Rendered {
    match record.body {
        Some(Body::Message(delivery)) => {
            let Some(message) = delivery.message else { return Rendered::Unknown };
            let to = if delivery.everyone { To::Everyone } else { To::Users(delivery.user_ids) };
            let frame = outbound::new_message(&message, now_ms).into();
            let place = Place {
                conversation_id: message.conversation_id.into(),
                seq: message.seq_id,
                created_at_ms: message.created_at_ms,
            };
            Rendered::Message { frame, to, place, droppable: delivery.droppable }
        }
        Some(Body::Ack(ack)) => match outbound::final_ack(&ack, rejection, now_ms) {
            Some(rendered) => Rendered::Ack {
                frame: rendered.into(),
                user_id: ack.user_id,
                connection_id: ack.connection_id,
                send: SendKey::of(ack.connection_id, ack.client_msg_id.as_bytes()),
                stored: ack.status() == ack::Status::Stored,
            },
            None => Rendered::Unknown,
        },
        Some(Body::Receipt(receipt)) => {
            let frame = outbound::receipt(&receipt, now_ms).into();
            Rendered::Users { frame, users: receipt.user_ids }
        }
        Some(Body::ConversationUpdated(update)) => match outbound::conversation_updated(&update, now_ms) {
            Some(rendered) => Rendered::Users { frame: rendered.into(), users: update.user_ids },
            None => Rendered::Unknown,
        },
        Some(Body::Resync(resync)) => {
            let to = if resync.user_ids.is_empty() { To::Everyone } else { To::Users(resync.user_ids) };
            Rendered::Resync { to, spread_ms: resync.spread_ms.into() }
        }
        None => Rendered::Unknown,
    }
}

/// A code that this version doesn't know is still a rejection.
fn rejection(code: u32, reason: &str) -> Error {
    Error::new(Code::from_number(code).unwrap_or(Code::Internal), reason)
}
