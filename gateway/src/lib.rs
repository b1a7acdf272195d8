//! The chat edge: HTTP and WebSocket clients on core's shards, the queue and logic behind them.
//!
//! Up: [`frames`] → `upstream/` → the queue → `upstream/ack` answers. Down: `downstream/` → every device of a user.
//! REST and request frames go over `side/` to logic and come back as a mail. [`shard`] joins them: one instance for
//! each of core's shards.
//!
//! *Invariant:* a shard never waits and never calls anyone; what waits is on the side and comes back by mail.\
//! *Invariant:* a message costs no call to another service here: the token names its sender, and the queue takes it.\
//! *Invariant:* mails posted without a bound answer something that was admitted with one.

#![forbid(unsafe_code)]

mod admin;
mod agenda;
mod auth;
mod config;
#[cfg(any(test, feature = "counts"))]
pub mod counts;
mod downstream;
mod frames;
mod gateway;
mod health;
mod life;
mod mail;
mod opening;
mod presence;
mod protocol;
mod random;
mod rates;
mod recheck;
mod request;
mod rest;
mod revoke;
mod routes;
mod session;
mod shard;
mod side;
mod time;
mod upstream;
mod web;

pub use config::{
    AuthConfig, DownstreamConfig, DrainConfig, GatewayConfig, HealthConfig, InvalidConfig, PresenceConfig,
    RateConfig, RequestConfig, RestLimits, SideConfig, UpstreamConfig,
};
pub use gateway::{DrainReport, Gateway, GatewayDeps, GatewayError};
