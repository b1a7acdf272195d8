//! The connection engine's settings as they stand in a file.

use std::net::SocketAddr;

use gochat_core::{Config as Edge, Driver, Network};
use serde::{Deserialize, Serialize};

#[derive(Deserialize, Serialize)]
#[serde(remote = "Driver", rename_all = "lowercase")]
pub(super) enum DriverDef {
    Auto,
    Uring,
    Epoll,
}

/// Mirrors core's plain struct: core has no serde. The three fields left out stand one level up.
#[derive(Deserialize, Serialize)]
#[serde(remote = "Edge", deny_unknown_fields, default = "Edge::default")]
pub(super) struct EdgeDef {
    #[serde(skip)]
    listen: SocketAddr,
    #[serde(skip)]
    shards: usize,
    #[serde(skip)]
    driver: Driver,
    pin_threads: bool,
    listen_backlog: u32,
    connections_per_shard_max: usize,
    http_connections_per_shard_max: usize,
    http_connections_per_ip_max: usize,
    #[serde(with = "networks")]
    trusted_proxies: Vec<Network>,
    refused_retry_after_s: u32,
    accept_batch: usize,
    accept_backoff_ms: u64,
    head_max_bytes: usize,
    headers_max: usize,
    target_max_bytes: usize,
    body_max_bytes: usize,
    head_deadline_ms: u64,
    body_deadline_ms: u64,
    keep_alive_idle_ms: u64,
    request_deadline_ms: u64,
    frame_max_bytes: usize,
    message_max_bytes: usize,
    fragments_per_message_max: u32,
    control_frames_per_second_max: u32,
    message_deadline_ms: u64,
    ping_interval_ms: u64,
    pong_deadline_ms: u64,
    close_deadline_ms: u64,
    write_deadline_ms: u64,
    outbox_connection_max_bytes: usize,
    outbox_shard_max_bytes: usize,
    input_shard_max_bytes: usize,
    receive_buffer_bytes: usize,
    write_buffer_bytes: usize,
    free_buffers_max: usize,
    free_buffer_max_bytes: usize,
    memory_shard_max_bytes: usize,
    mailbox_max_count: usize,
    mailbox_max_bytes: usize,
    handoffs_max: usize,
    app_timers_max: usize,
    tick_ms: u64,
    drain_grace_ms: u64,
    drain_spread_ms: u64,
    drain_pace_ms: u64,
    drain_deadline_ms: u64,
    driver_entries: u32,
    uring_completion_entries: u32,
}

/// Networks as they are written: `10.0.0.0/8`, or one address.
mod networks {
    use gochat_core::Network;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    pub(super) fn serialize<S: Serializer>(networks: &[Network], to: S) -> Result<S::Ok, S::Error> {
        to.collect_seq(networks.iter().map(Network::to_string))
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Network>, D::Error> {
        let texts = Vec::<String>::deserialize(from)?;
        texts.iter().map(|text| text.parse().map_err(D::Error::custom)).collect()
    }
}
