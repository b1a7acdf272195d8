//! The connection engine: pinned shards, HTTP/1.1, WebSocket, hubs, timers, mailboxes. It knows nothing of what is said
//! over its connections; [`App`] is the only seam upward.
//!
//! Names say where a message goes: `socket/` (the only door to a descriptor) → `conn/` (one connection) → `http/` or
//! `ws/` (pure protocol) → `app.rs` → `hub/` and `conn/outbox.rs` → `shard/` (turns, and the one write at their end).
//! Other threads come in through `mailbox/`.
//!
//! *Invariant:* a shard's state is touched by its own thread only; locks and atomics are in `mailbox/` alone.\
//! *Invariant:* no borrow of a shard's state lives across an await.\
//! *Invariant:* no operation that carries bytes is ever in flight: tasks wait for readiness only, so dropping one loses
//! nothing.\
//! *Invariant:* `unsafe` is in `socket/sys.rs` alone.

#![deny(unsafe_code)]

mod app;
mod config;
mod conn;
#[cfg(any(test, feature = "counts"))]
pub mod counts;
mod engine;
mod http;
mod hub;
mod mailbox;
mod proxies;
mod reasons;
mod shard;
mod socket;
mod stats;
mod timer;
mod ws;

pub use app::{App, CloseReason, Cx, Outcome, Priority, SendOutcome, Upgrade};
pub use config::{
    CONNECTIONS_PER_SHARD_LIMIT, Config, ConfigError, Driver, HEADERS_LIMIT, SHARDS_LIMIT,
    TRUSTED_PROXIES_LIMIT,
};
pub use conn::id::{ConnId, RequestId};
pub use engine::{DrainReport, Engine, EngineInUse, ShardStart, StartError};
pub use http::{Request, RequestRefused, Response};
pub use hub::home_of;
pub use mailbox::{Mailbox, MailboxFull, Mailboxes, RefusedBy};
pub use proxies::{Network, NetworkError};
pub use reasons::{ConnectionRefused, Counts, ForcedBy, FrameDropped, HttpEnd, MailRefused, Reason};
pub use stats::{Family, ShardStats};
pub use ws::{Breach, Frame};
