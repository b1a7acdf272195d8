//! Every bound of the engine: what is counted, in which unit, and what happens when it is reached.
//!
//! The struct is plain on purpose: whoever owns a configuration file mirrors it. [`Config::validate`] names the
//! first field that can't be right; [`crate::Engine::start`] calls it.

use crate::proxies::Network;
use std::net::{Ipv4Addr, SocketAddr};

/// Most connections that a shard's identifiers can tell apart ([`crate::ConnId`] keeps 20 bits for the slot).
pub const CONNECTIONS_PER_SHARD_LIMIT: usize = 1 << 20;
/// Most headers of a request head that [`Config::headers_max`] may allow; they are parsed on the stack.
pub const HEADERS_LIMIT: usize = 128;
/// Most entries of [`Config::trusted_proxies`], which are looked through for each connection.
pub const TRUSTED_PROXIES_LIMIT: usize = 256;
/// Most shards of an engine.
pub const SHARDS_LIMIT: usize = 1024;

/// Which of the portable drivers runs the shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub enum Driver {
    /// io_uring where the kernel and the sandbox allow it, else epoll. The reason is kept in
    /// [`crate::EngineInUse`].
    #[default]
    Auto,
    /// io_uring, or the engine doesn't start.
    Uring,
    /// epoll, always available.
    Epoll,
}

/// Settings of an engine. All limits are for each shard or each connection, as their names say.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Address to listen on; port 0 takes a free one, see [`crate::Engine::local_addr`].
    pub listen: SocketAddr,
    /// Shards (threads), 1 to 1,024. More shards than cores are allowed. The caller decides; 0 is refused.
    pub shards: usize,
    /// Driver of the shards' sockets.
    pub driver: Driver,
    /// Pin each shard's thread to one of the cores that the process may use.
    pub pin_threads: bool,
    /// Length of the kernel's accept queue for each listener. Full: the kernel drops the SYN, the client tries again.
    pub listen_backlog: u32,

    /// Connections of a shard, HTTP and WebSocket together. Full: a new connection gets a 503 and is closed
    /// ([`crate::ConnectionRefused::Cap`]), one that is handed over is closed with 1013 (`HandoffCap`).
    pub connections_per_shard_max: usize,
    /// Connections of a shard that are not upgraded: handshakes in flight and HTTP keep-alive. Full: a new
    /// connection gets a 503 and is closed ([`crate::ConnectionRefused::Handshakes`]).
    pub http_connections_per_shard_max: usize,
    /// Those of them that come from one IPv4 address or one IPv6 /64; each shard counts for itself. Full: a new
    /// connection of this peer gets a 503 and is closed ([`crate::ConnectionRefused::Peer`]). Connections of trusted
    /// proxies don't count, but each request through one counts for its client, from the end of its head to the end
    /// of its answer or of its handshake; one too many gets a 503 ([`crate::RequestRefused::Client`]).
    pub http_connections_per_ip_max: usize,
    /// Proxies in front of the engine, at most [`TRUSTED_PROXIES_LIMIT`] addresses or networks. What one of them says in
    /// `X-Forwarded-For` is believed: the last address there that is not in this list is the client's. From anybody
    /// else the header means nothing.
    pub trusted_proxies: Vec<Network>,
    /// When one that is refused may come again: the `Retry-After` of each 503 of the engine, in seconds.
    pub refused_retry_after_s: u32,
    /// Connections accepted in a row before other work of the shard goes on.
    pub accept_batch: usize,
    /// Pause of accepting, in milliseconds, when the process or the system is out of file descriptors or memory.
    pub accept_backoff_ms: u64,

    /// Bytes of a request head. More: 431.
    pub head_max_bytes: usize,
    /// Headers of a request, at most [`HEADERS_LIMIT`]. More: 431.
    pub headers_max: usize,
    /// Bytes of a request target. More: 414.
    pub target_max_bytes: usize,
    /// Bytes of a request body. More: 413.
    pub body_max_bytes: usize,
    /// Time for a whole request head, from the first byte or, on a new connection, from the accept. Over: 408 if
    /// bytes were received, else a silent close.
    pub head_deadline_ms: u64,
    /// Time for a whole request body, from the end of its head. Over: 408.
    pub body_deadline_ms: u64,
    /// Time that a connection may wait between two requests. Over: closed silently.
    pub keep_alive_idle_ms: u64,
    /// Time for the app to answer a request that it left pending. Over: 504.
    pub request_deadline_ms: u64,

    /// Payload bytes of a received WebSocket frame. More: closed with 1009.
    pub frame_max_bytes: usize,
    /// Payload bytes of a received WebSocket message, over all its fragments. More: closed with 1009.
    pub message_max_bytes: usize,
    /// Fragments of a received WebSocket message. More: closed with 1008 ([`crate::Breach::FragmentFlood`]).
    pub fragments_per_message_max: u32,
    /// Pings and pongs received on one connection in a second of the engine's clock. More: closed with 1008
    /// ([`crate::Breach::ControlFlood`]).
    pub control_frames_per_second_max: u32,
    /// Time for a whole WebSocket message, or a control frame alone, from its first byte. Over: closed with 1008
    /// ([`crate::CloseReason::MessageDeadline`]).
    pub message_deadline_ms: u64,
    /// Quiet time after which a WebSocket connection is sent a ping. One whose socket takes no more is not: the ping would
    /// stand behind what the peer has not read, and `write_deadline_ms` is for such.
    pub ping_interval_ms: u64,
    /// Time after our ping in which any byte must arrive. Over: closed ([`crate::CloseReason::Idle`]).
    pub pong_deadline_ms: u64,
    /// Time that a closing handshake may take, and that unread input is discarded for before the socket is closed.
    /// Over: the socket is closed as it is ([`crate::ForcedBy::CloseDeadline`]).
    pub close_deadline_ms: u64,
    /// Time that a write may stay blocked without taking a byte. Over: closed
    /// ([`crate::CloseReason::WriteDeadline`]).
    pub write_deadline_ms: u64,

    /// Bytes queued for one connection. Full: a droppable frame is dropped and counted, any other closes the
    /// connection with 1013.
    pub outbox_connection_max_bytes: usize,
    /// Bytes queued for all connections of a shard whose sockets take no more, a shared frame counted for each
    /// receiver. Full: as above, for those connections only.
    pub outbox_shard_max_bytes: usize,
    /// Bytes of incomplete requests, frames and messages kept by a shard. Full: the connection whose bytes don't
    /// fit is answered 503 ([`crate::RequestRefused::InputBudget`]) or closed with 1013
    /// ([`crate::CloseReason::InputBudget`]).
    pub input_shard_max_bytes: usize,
    /// Size of the shard's receive buffer: the most bytes that one read takes.
    pub receive_buffer_bytes: usize,
    /// Size of the shard's write buffer, in which queued frames of one connection are joined to one write.
    pub write_buffer_bytes: usize,
    /// Buffers that a shard's free list keeps. More: freed.
    pub free_buffers_max: usize,
    /// Capacity up to which a buffer goes back to the free list. Larger: freed.
    pub free_buffer_max_bytes: usize,

    /// Live bytes of a shard, of all kinds together: connections, incomplete input, what blocked sockets have not taken
    /// (a shared frame counted for each receiver), mails and free lists. The app's own memory is not among them. On the
    /// way there the shard sheds, in this order and only for as long as it must: above 70 % the free lists are freed
    /// (`shed_free_lists`); above 80 % droppable frames for blocked connections are dropped ([`crate::FrameDropped::Memory`]); above 90 %
    /// new connections get a 503 and those that are handed over 1013 ([`crate::ConnectionRefused`]); above 100 %, looked at each
    /// tick, the blocked connections with the most bytes queued are closed with 1013 until the rest fits
    /// ([`crate::CloseReason::Memory`], [`crate::HttpEnd::Memory`]).
    pub memory_shard_max_bytes: usize,
    /// Mails waiting in a shard's mailbox. Full: the post is refused ([`crate::MailRefused::Count`]).
    pub mailbox_max_count: usize,
    /// Bytes (as declared by the posters) waiting in a shard's mailbox. Full: the post is refused
    /// ([`crate::MailRefused::Bytes`]).
    pub mailbox_max_bytes: usize,
    /// Sockets on their way to a shard. Full: the socket is closed with 1013 ([`crate::ConnectionRefused::HandoffFull`]).
    pub handoffs_max: usize,
    /// App timers set on a shard. Full: the timer is refused and counted (`timers_refused`).
    pub app_timers_max: usize,
    /// Step of a shard's timer wheel: deadlines are kept up to one step late.
    pub tick_ms: u64,

    /// How long a draining engine goes on accepting, so that a balancer can notice.
    pub drain_grace_ms: u64,
    /// Time over which the closes with 1001 are spread, at most.
    pub drain_spread_ms: u64,
    /// Time that each connection of a shard adds to the spread until it is full: few are told soon.
    pub drain_pace_ms: u64,
    /// Time from the start of a drain after which what is left is closed as it is; at least grace and spread.
    pub drain_deadline_ms: u64,

    /// Entries of each shard's submission queue (io_uring), or events taken from epoll at once.
    pub driver_entries: u32,
    /// Entries of each shard's completion queue (io_uring). The kernel keeps what doesn't fit and delivers it later,
    /// at some cost.
    pub uring_completion_entries: u32,
}

impl Default for Config {
    /// Loopback, one shard, 20,000 connections, frames and messages of 64 KiB.
    fn default() -> Config {
        Config {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            shards: 1,
            driver: Driver::Auto,
            pin_threads: true,
            listen_backlog: 4096,
            connections_per_shard_max: 20_000,
            http_connections_per_shard_max: 4096,
            http_connections_per_ip_max: 1024,
            trusted_proxies: Vec::new(),
            refused_retry_after_s: 1,
            accept_batch: 64,
            accept_backoff_ms: 100,
            head_max_bytes: 16 * 1024,
            headers_max: 64,
            target_max_bytes: 4096,
            body_max_bytes: 256 * 1024,
            head_deadline_ms: 10_000,
            body_deadline_ms: 20_000,
            keep_alive_idle_ms: 60_000,
            request_deadline_ms: 30_000,
            frame_max_bytes: 64 * 1024,
            message_max_bytes: 64 * 1024,
            fragments_per_message_max: 1024,
            control_frames_per_second_max: 100,
            message_deadline_ms: 20_000,
            ping_interval_ms: 30_000,
            pong_deadline_ms: 15_000,
            close_deadline_ms: 3_000,
            write_deadline_ms: 10_000,
            outbox_connection_max_bytes: 256 * 1024,
            outbox_shard_max_bytes: 128 * 1024 * 1024,
            input_shard_max_bytes: 64 * 1024 * 1024,
            receive_buffer_bytes: 64 * 1024,
            write_buffer_bytes: 64 * 1024,
            free_buffers_max: 256,
            free_buffer_max_bytes: 64 * 1024,
            memory_shard_max_bytes: 256 * 1024 * 1024,
            mailbox_max_count: 65_536,
            mailbox_max_bytes: 64 * 1024 * 1024,
            handoffs_max: 4096,
            app_timers_max: 1_000_000,
            tick_ms: 50,
            drain_grace_ms: 1_000,
            drain_spread_ms: 5_000,
            drain_pace_ms: 5,
            drain_deadline_ms: 15_000,
            driver_entries: 1024,
            uring_completion_entries: 32_768,
        }
    }
}

/// A setting that can't be right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigError {
    /// Name of the field.
    pub field: &'static str,
    /// What it must be.
    pub must: String,
}

impl std::fmt::Display for ConfigError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} must be {}", self.field, self.must)
    }
}

impl std::error::Error for ConfigError {}

impl Config {
    /// Checks every field on its own, then those that depend on each other.
    ///
    /// # Errors
    /// The first wrong field by name, and what it must be.
    pub fn validate(&self) -> Result<(), ConfigError> {
        let within = |field: &'static str, value: u64, low: u64, high: u64| {
            if (low..=high).contains(&value) {
                Ok(())
            } else {
                Err(ConfigError { field, must: format!("between {low} and {high}, not {value}") })
            }
        };
        const HOUR_MS: u64 = 3_600_000;
        const GIB: u64 = 1 << 30;
        let size = |field, value: usize, low: u64| within(field, value as u64, low, GIB);
        let time = |field, value| within(field, value, 1, 24 * HOUR_MS);
        within("shards", self.shards as u64, 1, SHARDS_LIMIT as u64)?;
        within("listen_backlog", self.listen_backlog.into(), 1, 65_535)?;
        let connections = CONNECTIONS_PER_SHARD_LIMIT as u64;
        within("connections_per_shard_max", self.connections_per_shard_max as u64, 1, connections)?;
        within("http_connections_per_shard_max", self.http_connections_per_shard_max as u64, 1, connections)?;
        within("http_connections_per_ip_max", self.http_connections_per_ip_max as u64, 1, connections)?;
        let proxies = self.trusted_proxies.len() as u64;
        if proxies > TRUSTED_PROXIES_LIMIT as u64 {
            let must = format!("at most {TRUSTED_PROXIES_LIMIT} addresses or networks, not {proxies}");
            return Err(ConfigError { field: "trusted_proxies", must });
        }
        within("refused_retry_after_s", self.refused_retry_after_s.into(), 1, 3_600)?;
        within("accept_batch", self.accept_batch as u64, 1, 65_536)?;
        time("accept_backoff_ms", self.accept_backoff_ms)?;
        size("head_max_bytes", self.head_max_bytes, 128)?;
        within("headers_max", self.headers_max as u64, 1, HEADERS_LIMIT as u64)?;
        within("target_max_bytes", self.target_max_bytes as u64, 16, self.head_max_bytes as u64)?;
        size("body_max_bytes", self.body_max_bytes, 0)?;
        time("head_deadline_ms", self.head_deadline_ms)?;
        time("body_deadline_ms", self.body_deadline_ms)?;
        time("keep_alive_idle_ms", self.keep_alive_idle_ms)?;
        time("request_deadline_ms", self.request_deadline_ms)?;
        size("message_max_bytes", self.message_max_bytes, 125)?;
        within("frame_max_bytes", self.frame_max_bytes as u64, 125, GIB)?;
        within("fragments_per_message_max", self.fragments_per_message_max.into(), 1, 1 << 30)?;
        within("control_frames_per_second_max", self.control_frames_per_second_max.into(), 1, 1 << 30)?;
        time("message_deadline_ms", self.message_deadline_ms)?;
        time("ping_interval_ms", self.ping_interval_ms)?;
        time("pong_deadline_ms", self.pong_deadline_ms)?;
        time("close_deadline_ms", self.close_deadline_ms)?;
        time("write_deadline_ms", self.write_deadline_ms)?;
        size("outbox_connection_max_bytes", self.outbox_connection_max_bytes, 1024)?;
        let connection_bytes = self.outbox_connection_max_bytes as u64;
        within("outbox_shard_max_bytes", self.outbox_shard_max_bytes as u64, connection_bytes, 1024 * GIB)?;
        let one_input = (self.head_max_bytes + self.body_max_bytes)
            .max(self.frame_max_bytes + self.message_max_bytes)
            .saturating_add(self.receive_buffer_bytes) as u64;
        size("receive_buffer_bytes", self.receive_buffer_bytes, 1024)?;
        within("input_shard_max_bytes", self.input_shard_max_bytes as u64, one_input, 1024 * GIB)?;
        size("write_buffer_bytes", self.write_buffer_bytes, 1024)?;
        within("free_buffers_max", self.free_buffers_max as u64, 0, connections)?;
        size("free_buffer_max_bytes", self.free_buffer_max_bytes, 0)?;
        within("memory_shard_max_bytes", self.memory_shard_max_bytes as u64, 1 << 20, 1024 * GIB)?;
        within("mailbox_max_count", self.mailbox_max_count as u64, 1, 1 << 32)?;
        within("mailbox_max_bytes", self.mailbox_max_bytes as u64, 1, 1024 * GIB)?;
        within("handoffs_max", self.handoffs_max as u64, 1, connections)?;
        within("app_timers_max", self.app_timers_max as u64, 0, 1 << 32)?;
        within("tick_ms", self.tick_ms, 1, 1_000)?;
        within("drain_grace_ms", self.drain_grace_ms, 0, HOUR_MS)?;
        within("drain_spread_ms", self.drain_spread_ms, 0, HOUR_MS)?;
        within("drain_pace_ms", self.drain_pace_ms, 0, HOUR_MS)?;
        let planned_ms = self.drain_grace_ms + self.drain_spread_ms;
        within("drain_deadline_ms", self.drain_deadline_ms, planned_ms.max(1), 3 * HOUR_MS)?;
        within("driver_entries", self.driver_entries.into(), 256, 32_768)?;
        let entries = u64::from(self.driver_entries);
        within("uring_completion_entries", self.uring_completion_entries.into(), 2 * entries, 65_536)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(Config::default().validate(), Ok(()));
    }

    #[test]
    fn a_wrong_field_is_named() {
        let check = |change: fn(&mut Config), field: &str| {
            let mut config = Config::default();
            change(&mut config);
            assert_eq!(config.validate().expect_err(field).field, field);
        };
        check(|c| c.shards = 0, "shards");
        check(|c| c.headers_max = HEADERS_LIMIT + 1, "headers_max");
        check(|c| c.target_max_bytes = c.head_max_bytes + 1, "target_max_bytes");
        check(|c| c.http_connections_per_ip_max = 0, "http_connections_per_ip_max");
        let all = |c: &mut Config| c.trusted_proxies = vec!["::1".parse().expect("an address"); 257];
        check(all, "trusted_proxies");
        check(|c| c.control_frames_per_second_max = 0, "control_frames_per_second_max");
        check(|c| c.message_deadline_ms = 0, "message_deadline_ms");
        check(|c| c.connections_per_shard_max = CONNECTIONS_PER_SHARD_LIMIT + 1, "connections_per_shard_max");
        check(|c| c.outbox_shard_max_bytes = 1, "outbox_shard_max_bytes");
        check(|c| c.input_shard_max_bytes = 1024, "input_shard_max_bytes");
        check(|c| c.memory_shard_max_bytes = 1024, "memory_shard_max_bytes");
        check(|c| c.tick_ms = 0, "tick_ms");
        check(|c| c.drain_deadline_ms = c.drain_grace_ms, "drain_deadline_ms");
        check(|c| c.uring_completion_entries = 256, "uring_completion_entries");
    }
}
