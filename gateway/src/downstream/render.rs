//! A record becomes a frame; pure. Rendered once on the side and shared by all receivers on all shards.

use bytes::Bytes;
use gochat_infra::errors::{Code, Error};
use gochat_proto::queue::v1::{Downstream, downstream::Body};

use crate::protocol::outbound;

/// Who gets a frame.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum To {
    Users(Vec<u64>),
    Everyone,
    /// One connection, by the number that the gateway gave upstream.
    Connection {
        user_id: u64,
        connection_id: u64,
    },
}

/// A record, rendered.
#[derive(Debug)]
pub(crate) enum Rendered {
    Frame {
        frame: Bytes,
        to: To,
        /// Conversation and seq, if it is a message.
        place: Option<(Box<str>, u64)>,
    },
    Resync {
        to: To,
        spread_ms: u64,
    },
    /// A body that this version doesn't know: a newer logic sent it, and it is no use here.
    Unknown,
}

pub(crate) fn render(record: Downstream, now_ms: i64) -> Rendered {
    let frame = |frame: Vec<u8>, to: To| Rendered::Frame { frame: Bytes::from(frame), to, place: None };
    match record.body {
        Some(Body::Message(delivery)) => {
            let Some(message) = delivery.message else { return Rendered::Unknown };
            let to = if delivery.everyone { To::Everyone } else { To::Users(delivery.user_ids) };
            let rendered = outbound::new_message(&message, now_ms);
            let place = Some((message.conversation_id.into_boxed_str(), message.seq_id));
            Rendered::Frame { frame: Bytes::from(rendered), to, place }
        }
        Some(Body::Ack(ack)) => {
            let to = To::Connection { user_id: ack.user_id, connection_id: ack.connection_id };
            match outbound::final_ack(&ack, rejection, now_ms) {
                Some(rendered) => frame(rendered, to),
                None => Rendered::Unknown,
            }
        }
        Some(Body::Receipt(receipt)) => {
            frame(outbound::receipt(&receipt, now_ms), To::Users(receipt.user_ids))
        }
        Some(Body::ConversationUpdated(update)) => match outbound::conversation_updated(&update, now_ms) {
            Some(rendered) => frame(rendered, To::Users(update.user_ids)),
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
