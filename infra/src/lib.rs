//! What every GoChat service shares: errors, calls between services, the message queue, the cache,
//! the registry of instances, ids, tokens, config, logs and metrics, the admin port and shutdown.
//!
//! *Invariant:* nothing in this crate knows a table, a payload or a word of chat.

#![forbid(unsafe_code)]

pub mod admin;
pub mod cache;
pub mod config;
pub mod errors;
pub mod idgen;
pub mod mq;
pub mod registry;
pub mod rpc;
pub mod shutdown;
pub mod telemetry;
pub mod token;
