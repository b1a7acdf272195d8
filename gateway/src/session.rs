//! What the gateway keeps for one connection. It travels with the socket from the shard that accepted it to the
//! user's home shard.

use gochat_infra::token::Claims;
use gochat_proto::common::v1::Head;

use crate::{
    downstream::gaps::Gaps,
    rates::Buckets,
    upstream::admit::{Refusals, Turn},
};

/// State of an upgraded connection.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) user_id: u64,
    pub(crate) device_id: Box<str>,
    /// When its token was issued; Unix milliseconds.
    pub(crate) issued_ms: u64,
    /// When its token expires; Unix milliseconds.
    pub(crate) expires_ms: u64,
    /// When this connection's entry in the shard's agenda is due; 0: it has none.
    pub(crate) due_ms: u64,
    /// When the session is to be reported as alive again, by the shard's clock.
    pub(crate) refresh_ms: u64,
    /// When the session was known to be written, by the shard's clock.
    pub(crate) bound_ms: Option<u64>,
    /// When heads are to be compared once more, by the shard's clock; 0: not at all.
    pub(crate) recheck_ms: u64,
    /// A `heads` request that came before the session was written.
    pub(crate) early_heads: Option<Box<HeadsRequest>>,
    pub(crate) refusals: Option<Box<Refusals>>,
    /// Sends so far; wraps.
    pub(crate) sends: u32,
    pub(crate) sends_in_flight: u32,
    pub(crate) requests_in_flight: u32,
    pub(crate) malformed_in_a_row: u32,
    pub(crate) buckets: Buckets,
    /// What was left out for this connection and it has not been told of.
    pub(crate) gaps: Option<Box<Gaps>>,
}

/// A `heads` frame that waits for its turn or its answer.
#[derive(Debug)]
pub(crate) struct HeadsRequest {
    pub(crate) id: Option<Box<str>>,
    pub(crate) known: Vec<Head>,
    pub(crate) page_limit: Option<u32>,
}

impl Session {
    pub(crate) fn new(claims: &Claims) -> Self {
        Session {
            user_id: claims.sub,
            device_id: claims.device.as_str().into(),
            issued_ms: claims.iat_ms,
            expires_ms: claims.exp.saturating_mul(1000),
            due_ms: 0,
            refresh_ms: 0,
            bound_ms: None,
            recheck_ms: 0,
            early_heads: None,
            refusals: None,
            sends: 0,
            sends_in_flight: 0,
            requests_in_flight: 0,
            malformed_in_a_row: 0,
            buckets: Buckets::default(),
            gaps: None,
        }
    }

    /// A token of the same user and device, if it is not older than the one in force.
    pub(crate) fn renew(&mut self, claims: &Claims) {
        if claims.iat_ms >= self.issued_ms {
            self.issued_ms = claims.iat_ms;
            self.expires_ms = claims.exp.saturating_mul(1000);
        }
    }

    /// When the socket must close; Unix milliseconds.
    pub(crate) fn ends_unix_ms(&self, grace_ms: u64) -> i64 {
        i64::try_from(self.expires_ms.saturating_add(grace_ms)).unwrap_or(i64::MAX)
    }

    /// The first refused message of a conversation returned: those behind it may go again.
    pub(crate) fn forgive(&mut self, turn: Turn, conversation_id: &str) {
        if turn != Turn::Returned {
            return;
        }
        if let Some(refusals) = &mut self.refusals {
            refusals.clear(conversation_id.as_bytes());
            if refusals.is_empty() {
                self.refusals = None;
            }
        }
    }
}
