//! What is counted.

use gochat_infra::errors::Code;
use prometheus_client::metrics::{counter::Counter, family::Family};

use super::histogram::Histogram;
use crate::{
    rates::{Whose, http::Caller},
    shard::Closed,
    upstream::ack::Refusal,
};

/// One shard's numbers. Gauges are `pending`, `unfinished`, `unfinished_age_ms` and `revocations`.
#[derive(Debug, Clone, Default)]
pub(crate) struct Counters {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) frames: u64,
    pub(crate) sends: u64,
    pub(crate) pending: u64,
    pub(crate) unfinished: u64,
    pub(crate) unfinished_age_ms: u64,
    pub(crate) acks_accepted: u64,
    pub(crate) acks_final: u64,
    pub(crate) acks_stale: u64,
    pub(crate) delivered: u64,
    pub(crate) left_out: u64,
    pub(crate) gaps: u64,
    pub(crate) gaps_overflown: u64,
    pub(crate) resyncs: u64,
    pub(crate) presence_dropped: u64,
    pub(crate) early_heads_refused: u64,
    pub(crate) rechecks_without_room: u64,
    pub(crate) revocations: u64,
    pub(crate) revocations_folded: u64,
    pub(crate) answers_5xx: u64,
    pub(crate) accept_latency: Histogram,
    pub(crate) store_latency: Histogram,
    pub(crate) delivery_latency: Histogram,
    pub(crate) retries: ByReason<{ Refusal::NAMES.len() }>,
    pub(crate) too_fast: ByReason<{ Whose::NAMES.len() }>,
    pub(crate) requests_too_fast: ByReason<{ Caller::NAMES.len() }>,
    /// In the order of [`WITHOUT_ROOM`].
    pub(crate) rates_without_room: [u64; WITHOUT_ROOM.len()],
    pub(crate) rejects: ByCode,
    pub(crate) frame_errors: ByCode,
    pub(crate) request_errors: ByCode,
    pub(crate) closes: ByReason<{ Closed::NAMES.len() }>,
}

/// What was limited for less than each user or address, since there were too many of them.
pub(super) const WITHOUT_ROOM: [&str; 3] = ["user_frames", "user_requests", "ip"];

/// A number for each code of the error table.
#[derive(Debug, Clone, Default)]
pub(crate) struct ByCode(pub(super) [u64; Code::ALL.len()]);

impl ByCode {
    pub(crate) fn count(&mut self, code: Code) {
        if let Some(at) = Code::ALL.iter().position(|known| *known == code) {
            self.0[at] += 1;
        }
    }
}

/// A number for each reason of a closed set, by its place in the list of their names.
#[derive(Debug, Clone)]
pub(crate) struct ByReason<const N: usize>(pub(super) [u64; N]);

impl<const N: usize> Default for ByReason<N> {
    fn default() -> Self {
        ByReason([0; N])
    }
}

impl<const N: usize> ByReason<N> {
    pub(crate) fn count(&mut self, reason: usize) {
        self.0[reason] += 1;
    }
}

/// Counters by one label, `reason`.
pub(crate) type ByName = Family<[(&'static str, &'static str); 1], Counter>;

/// Numbers of the threads beside the shards.
#[derive(Debug, Default)]
pub(crate) struct SideCounters {
    pub(crate) downstream_records: Counter,
    pub(crate) downstream_foreign: Counter,
    pub(crate) downstream_unreadable: Counter,
    pub(crate) downstream_dropped: Counter,
    pub(crate) downstream_lost: Counter,
    pub(crate) downstream_marks_overflown: Counter,
    /// By lane and what was full.
    pub(crate) side_refused: ByName,
    pub(crate) session_report_failures: Counter,
    pub(crate) revocation_load_failures: Counter,
    /// Of work on the side.
    pub(crate) panics: Counter,
    pub(crate) events_lost: Counter,
    pub(crate) events_unreadable: Counter,
}
