//! Deadlines of a shard.

pub(crate) mod wheel;
