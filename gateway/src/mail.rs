//! What other threads post to a shard.

use std::sync::Arc;

use gochat_core::{ConnId, RequestId, Response};
use gochat_proto::common::v1::Head;
use tokio::sync::oneshot;

use crate::{
    admin::Counters, downstream::split::Item, revoke::set::Revocation, side::calls::Answer,
    upstream::pending::Ticket,
};

pub(crate) enum Mail {
    /// The queue has a message, or has refused it.
    Confirmed { ticket: Ticket, kept: bool },
    /// The answer to an HTTP request.
    Respond { id: RequestId, response: Response },
    /// The answer to a request frame.
    Answered { conn: ConnId, answer: Answer },
    /// The connection's session is written.
    Bound { conn: ConnId },
    /// The connection's session will not be written.
    NotBound { conn: ConnId },
    /// Heads were compared once more; None: that failed.
    Rechecked { conn: ConnId, user_id: u64, changed: Option<Vec<Head>> },
    /// What goes out to connections of this shard.
    Downstream(Vec<Item>),
    /// The store's epoch is known; answered when noted.
    Epoch(u64, oneshot::Sender<()>),
    /// Tokens that ended before their time; answered when the shard knows them.
    Revoked(Arc<[Revocation]>, oneshot::Sender<()>),
    /// Every shard knows the epoch and all revocations: connections may be taken.
    Open(oneshot::Sender<()>),
    /// The gateway wants to know what was counted.
    Sample(oneshot::Sender<Counters>),
    /// Whether the shard still takes mail.
    Alive(oneshot::Sender<()>),
    /// No more sends; tell when the queue has answered for all of them.
    Drain(oneshot::Sender<()>),
}
