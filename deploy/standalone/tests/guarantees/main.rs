//! Promises of durability, each in a file of its own, tried by breaking things.
#[path = "../harness/mod.rs"]
mod harness;

mod failing_fsync;
mod kill;
