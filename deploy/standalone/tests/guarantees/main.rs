//! The promises that a client may rely on, each in a file of its own, tried by breaking things under the real binary.
#[path = "../harness/mod.rs"]
mod harness;

mod acknowledged_is_kept;
mod bounded_memory;
mod broken_histories;
mod chaos;
mod delivery_and_sync;
mod dense_order;
mod effectively_once;
mod failing_fsync;
mod ids;
mod members_only;
mod mended_disk;
mod raised_epoch;
mod waits_end;
