//! Every bound of the gateway. What the connection engine bounds stands under `edge`, with core's names and
//! defaults.

mod check;
mod edge;

use std::net::SocketAddr;

use gochat_core::{Config as Edge, Driver};
use serde::{Deserialize, Serialize};

pub use self::check::InvalidConfig;
use self::edge::{DriverDef, EdgeDef};

/// Settings of a gateway.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct GatewayConfig {
    /// Where clients connect. Default 127.0.0.1:8080; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Threads that own connections. Default 0: one less than the machine has cores, and at least one.
    pub shards: usize,
    /// How sockets are driven: `auto`, `uring` or `epoll`. Default `auto`.
    #[serde(with = "DriverDef")]
    pub driver: Driver,
    /// Limits of HTTP, WebSocket, buffers and mailboxes.
    #[serde(with = "EdgeDef")]
    pub edge: Edge,
    /// Who may connect.
    pub auth: AuthConfig,
    /// Messages on their way in.
    pub upstream: UpstreamConfig,
    /// How fast clients may send.
    pub rates: RateConfig,
    /// What a connection may ask for.
    pub requests: RequestConfig,
    /// REST.
    pub rest: RestLimits,
    /// Calls to logic.
    pub side: SideConfig,
    /// Reports of who is connected.
    pub presence: PresenceConfig,
    /// Messages on their way out.
    pub downstream: DownstreamConfig,
    /// The end.
    pub drain: DrainConfig,
    /// What /readyz looks at.
    pub health: HealthConfig,
    /// How often counters are collected from the shards for /metrics. Default 2,000 ms.
    pub stats_interval_ms: u64,
}

/// Who may connect, and how.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Accept `/ws?token=`. Default no: URLs end up in logs.
    pub allow_query_token: bool,
    /// Origins, such as `https://chat.example`, whose pages may open a connection besides those of the same
    /// host. Default none.
    pub allowed_origins: Vec<String>,
    /// Open WebSockets of one user. Default 16. One more is taken, and the one that was silent longest is closed with
    /// 4429: of the new one's device if it has others, else of all.
    pub connections_per_user_max: usize,
    /// How long a connection outlives its access token. Default 60,000 ms; then it is closed with 4401.
    pub token_grace_ms: u64,
    /// Revocations that each shard remembers. Default 100,000. When full, the earliest-issued become a floor: all
    /// tokens issued until then are refused until they are refreshed.
    pub revocations_max: usize,
    /// How often logic is asked for revocations whose event was lost. Default 10,000 ms.
    pub revocations_poll_ms: u64,
    /// Pause after such a question failed. Default 500 ms. Until the first has been answered the gateway is not
    /// ready.
    pub revocations_retry_ms: u64,
    /// Revocations in one answer. Default 1,000.
    pub revocations_page_max: u32,
}

/// Bounds of messages on their way in.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct UpstreamConfig {
    /// Longest content of a message. Default 8,192 bytes; a longer one is rejected with 1011.
    pub content_max_bytes: usize,
    /// Sends of one connection that the queue has not confirmed. Default 64; more are answered `retry`.
    pub in_flight_per_connection_max: u32,
    /// The same for a shard. Default 16,384.
    pub in_flight_per_shard_max: usize,
    /// Conversations of one connection in which a refused send may wait to return. Default 64; more close the
    /// connection with 1013, since its order could no longer be kept.
    pub refused_conversations_max: usize,
    /// When a client should try again after `retry`. Default 500 ms; up to twice that, spread, when the pipeline lags.
    pub retry_after_ms: u64,
    /// How far the pipeline may lag: the age of the oldest send that is not stored or rejected, of those that no later
    /// one has overtaken. Default 2,000 ms; then sends of the shard are answered `retry` (1013).
    pub unfinished_age_max_ms: u64,
    /// Sends of a shard that are not stored or rejected. Default 65,536; more are answered `retry` (1013).
    pub unfinished_per_shard_max: usize,
    /// After this time a send without a final answer is not counted any more: its client sends it again. Default
    /// 10,000 ms.
    pub unfinished_forget_ms: u64,
}

/// How fast clients may send and ask. Each has a bucket of `burst` frames, filled at so many a second; a message above it is
/// answered `retry` (1012), any other frame with `error` 1012, an HTTP request with 429 (1012), all with the time to
/// wait.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateConfig {
    /// Messages of one connection. Default 100 a second.
    pub connection_sends_per_s: u32,
    /// Default 400.
    pub connection_sends_burst: u32,
    /// All other frames of one connection. Default 100 a second.
    pub connection_requests_per_s: u32,
    /// Default 400.
    pub connection_requests_burst: u32,
    /// Messages of all connections of one user. Default 200 a second.
    pub user_sends_per_s: u32,
    /// Default 800.
    pub user_sends_burst: u32,
    /// All other frames of one user. Default 200 a second.
    pub user_requests_per_s: u32,
    /// Default 800.
    pub user_requests_burst: u32,
    /// Refused frames of one connection that are put up with. Default 50 a second; more close it with 1008.
    pub refusals_per_s: u32,
    /// Default 1,000.
    pub refusals_burst: u32,
    /// REST requests and upgrades with a token of one user; each shard counts for itself. Default 50 a second.
    pub user_rest_per_s: u32,
    /// Default 400.
    pub user_rest_burst: u32,
    /// Requests to register, log in or refresh from one IPv4 address or one IPv6 /64; each shard counts for itself.
    /// Default 50 a second.
    pub ip_auth_per_s: u32,
    /// Default 500.
    pub ip_auth_burst: u32,
    /// Users of a shard whose buckets are not full, for frames and for REST each. Default 100,000. For frames of more
    /// of them only the connection's rates hold; their REST requests share one bucket.
    pub users_per_shard_max: usize,
    /// The same for addresses. Default 100,000; more of them share one bucket.
    pub ips_per_shard_max: usize,
}

/// Bounds of what one connection may ask for by frames.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RequestConfig {
    /// `heads`, `sync` and `mark-read` of one connection without an answer yet. Default 4; more are refused with
    /// 1012.
    pub in_flight_per_connection_max: u32,
    /// Unreadable frames in a row after which the connection is closed with 1008. Default 10.
    pub malformed_in_a_row_max: u32,
    /// Conversations that one `heads` may name. Default 2,000; more are refused with 1011.
    pub heads_max: usize,
    /// Pages that follow the answer to one `heads`. Default 20; the client syncs the rest.
    pub heads_pages_max: usize,
    /// Bytes of all frames of the answer to one `heads`. Default 96 KiB; when full, no more pages follow.
    pub heads_answer_max_bytes: usize,
    /// Messages of a page when the client names no limit. Default 50.
    pub page_default: u32,
    /// Most messages of a page. Default 100; a larger limit is lowered to it.
    pub page_max: u32,
    /// Bytes of one page. Default 48 KiB; a fuller page is cut after the message that reached it, and says
    /// `hasMore`.
    pub page_max_bytes: usize,
    /// How often clients should compare heads, told in `hello`. Default 300,000 ms.
    pub heads_interval_ms: u64,
    /// When heads are compared once more after a connection's session was written. Default 3,000 ms: longer
    /// than a router keeps a route.
    pub recheck_after_ms: u64,
    /// Connections of a shard whose heads are kept for that comparison. Default 10,000; when full, the client is
    /// sent `resync` instead.
    pub rechecks_per_shard_max: usize,
    /// Heads of a shard that are kept: for that comparison, and of `heads` that came before their connection's session
    /// was written. Default 1,000,000, about 100 MB. When full, the client is sent `resync` instead of the comparison,
    /// and such an early `heads` is refused with 1013.
    pub kept_heads_per_shard_max: usize,
}

/// Bounds of REST requests.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestLimits {
    /// Entries of a page when the request names no limit. Default 50.
    pub page_default: u32,
    /// Most entries of a page. Default 200; a larger limit is lowered to it.
    pub page_max: u32,
    /// Users that one request may ask the profiles of. Default 100; more are refused with 1011.
    pub profiles_max: u32,
    /// Users that one request may add to a group. Default 1,000; more are refused with 1011.
    pub member_ids_max: u32,
}

/// Bounds of calls to logic. Each lane has its own; when a lane is full its requests are answered 1013.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SideConfig {
    /// Calls in flight that hash a password: register, login, password. Default 32.
    pub auth_calls_max: usize,
    /// Such requests that wait. Default 256.
    pub auth_queue_max: usize,
    /// All other calls in flight. Default 256.
    pub data_calls_max: usize,
    /// Such requests that wait. Default 4,096.
    pub data_queue_max: usize,
    /// Bytes of the requests of a lane that wait or are in flight. Default 64 MiB.
    pub lane_max_bytes: u32,
    /// When a client should try again after 1013. Default 1,000 ms.
    pub retry_after_ms: u64,
}

/// Bounds of session reports.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PresenceConfig {
    /// Reports that wait. Default 65,536. When full, a new connection is closed with 1013, the report of an end
    /// or of life is dropped and counted: such a session ends by its time to live.
    pub queue_max: usize,
    /// Reports in one call. Default 500.
    pub batch_max: usize,
    /// How often a session is reported as alive. Default 600,000 ms.
    pub refresh_ms: u64,
    /// How long a session lives after its last report. Default 1,800,000 ms.
    pub ttl_ms: u64,
    /// Pause after a failed report, doubled up to `retry_max_ms`. Default 100 ms.
    pub retry_min_ms: u64,
    /// Longest pause after a failed report. Default 5,000 ms.
    pub retry_max_ms: u64,
}

/// Bounds of messages on their way out.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DownstreamConfig {
    /// How long a full mailbox of a shard holds up the others. Default 100 ms; then the batch is dropped for this
    /// shard, counted, and its users are sent `resync`.
    pub post_wait_ms: u64,
    /// Users of one shard remembered for that `resync`. Default 10,000; above it all of the shard are.
    pub marked_users_max: usize,
    /// Time over which `resync` is spread. Default 5,000 ms.
    pub resync_spread_ms: u64,
    /// Conversations of one slow connection in which messages were left out. Default 16; with more it is sent `resync`
    /// instead of its gaps.
    pub gaps_per_connection_max: usize,
    /// How often a `resync` that found the mailbox full is tried again. Default 250 ms.
    pub resync_retry_ms: u64,
}

/// Deadlines of the end; the engine's own stand under `edge`.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct DrainConfig {
    /// How long to wait for the queue to confirm what was sent. Default 5,000 ms; what is left is unanswered, and
    /// clients send it again.
    pub acks_deadline_ms: u64,
    /// How long to wait until the ends of all sessions are reported. Default 3,000 ms; what is left ends by its
    /// time to live.
    pub sessions_deadline_ms: u64,
}

/// How the gateway looks after its own parts.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct HealthConfig {
    /// How often. Default 500 ms.
    pub interval_ms: u64,
    /// A shard that has not answered for so long makes /readyz fail. Default 5,000 ms.
    pub shard_deadline_ms: u64,
}

impl Default for GatewayConfig {
    fn default() -> Self {
        GatewayConfig {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            shards: 0,
            driver: Driver::Auto,
            edge: Edge::default(),
            auth: AuthConfig::default(),
            upstream: UpstreamConfig::default(),
            rates: RateConfig::default(),
            requests: RequestConfig::default(),
            rest: RestLimits::default(),
            side: SideConfig::default(),
            presence: PresenceConfig::default(),
            downstream: DownstreamConfig::default(),
            drain: DrainConfig::default(),
            health: HealthConfig::default(),
            stats_interval_ms: 2_000,
        }
    }
}

impl Default for AuthConfig {
    fn default() -> Self {
        AuthConfig {
            allow_query_token: false,
            allowed_origins: Vec::new(),
            connections_per_user_max: 16,
            token_grace_ms: 60_000,
            revocations_max: 100_000,
            revocations_poll_ms: 10_000,
            revocations_retry_ms: 500,
            revocations_page_max: 1_000,
        }
    }
}

impl Default for UpstreamConfig {
    fn default() -> Self {
        UpstreamConfig {
            content_max_bytes: 8192,
            in_flight_per_connection_max: 64,
            in_flight_per_shard_max: 16_384,
            refused_conversations_max: 64,
            retry_after_ms: 500,
            unfinished_age_max_ms: 2_000,
            unfinished_per_shard_max: 65_536,
            unfinished_forget_ms: 10_000,
        }
    }
}

impl Default for RateConfig {
    fn default() -> Self {
        RateConfig {
            connection_sends_per_s: 100,
            connection_sends_burst: 400,
            connection_requests_per_s: 100,
            connection_requests_burst: 400,
            user_sends_per_s: 200,
            user_sends_burst: 800,
            user_requests_per_s: 200,
            user_requests_burst: 800,
            refusals_per_s: 50,
            refusals_burst: 1_000,
            user_rest_per_s: 50,
            user_rest_burst: 400,
            ip_auth_per_s: 50,
            ip_auth_burst: 500,
            users_per_shard_max: 100_000,
            ips_per_shard_max: 100_000,
        }
    }
}

impl Default for RequestConfig {
    fn default() -> Self {
        RequestConfig {
            in_flight_per_connection_max: 4,
            malformed_in_a_row_max: 10,
            heads_max: 2_000,
            heads_pages_max: 20,
            heads_answer_max_bytes: 96 * 1024,
            page_default: 50,
            page_max: 100,
            page_max_bytes: 48 * 1024,
            heads_interval_ms: 300_000,
            recheck_after_ms: 3_000,
            rechecks_per_shard_max: 10_000,
            kept_heads_per_shard_max: 1_000_000,
        }
    }
}

impl Default for RestLimits {
    fn default() -> Self {
        RestLimits { page_default: 50, page_max: 200, profiles_max: 100, member_ids_max: 1_000 }
    }
}

impl Default for SideConfig {
    fn default() -> Self {
        SideConfig {
            auth_calls_max: 32,
            auth_queue_max: 256,
            data_calls_max: 256,
            data_queue_max: 4_096,
            lane_max_bytes: 64 << 20,
            retry_after_ms: 1_000,
        }
    }
}

impl Default for PresenceConfig {
    fn default() -> Self {
        PresenceConfig {
            queue_max: 65_536,
            batch_max: 500,
            refresh_ms: 600_000,
            ttl_ms: 1_800_000,
            retry_min_ms: 100,
            retry_max_ms: 5_000,
        }
    }
}

impl Default for DownstreamConfig {
    fn default() -> Self {
        DownstreamConfig {
            post_wait_ms: 100,
            marked_users_max: 10_000,
            resync_spread_ms: 5_000,
            gaps_per_connection_max: 16,
            resync_retry_ms: 250,
        }
    }
}

impl Default for DrainConfig {
    fn default() -> Self {
        DrainConfig { acks_deadline_ms: 5_000, sessions_deadline_ms: 3_000 }
    }
}

impl Default for HealthConfig {
    fn default() -> Self {
        HealthConfig { interval_ms: 500, shard_deadline_ms: 5_000 }
    }
}
