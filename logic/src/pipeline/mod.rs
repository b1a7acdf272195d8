//! From gochat.upstream to the store and on to the gateways: the way of every message.
//!
//! *Invariants:* one attempt runs at a time, so a conversation has one save in flight at most. A record is finished
//! when it was distributed, rejected or put into the dead letter, and offsets are committed only over finished
//! records. A record that fails for a reason that may pass is tried until it works, while its partition waits.
mod attempt;
mod authorize;
mod consume;
mod dead_letter;
mod decode;
mod dedupe;
mod distribute;
mod lookup;
mod metrics;
mod owner;
mod parked;
mod persist;
mod round;
mod sequence;

pub(crate) use attempt::unix_ms;
pub(crate) use consume::{Pipeline, PipelineDeps};
pub(crate) use metrics::PipelineMetrics;
