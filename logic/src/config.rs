//! Every bound of this service.
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// All settings of logic.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogicConfig {
    pub auth: AuthConfig,
    pub events: EventsConfig,
    pub limits: LimitsConfig,
    pub logins: LoginsConfig,
    pub pipeline: PipelineConfig,
    pub routes: RoutesConfig,
}

/// Passwords and tokens.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct AuthConfig {
    /// Threads that do nothing but hash passwords; each takes `argon2_memory_kib` while it works.
    pub argon2_threads: usize,
    /// Hashes that may wait for a thread; one more is answered with 1013 and a time to retry.
    pub argon2_queue: usize,
    pub argon2_memory_kib: u32,
    pub argon2_passes: u32,
    pub argon2_lanes: u32,
    /// Life of an access token.
    pub access_token_s: u32,
    /// How long beyond the end of an access token a revocation of it is kept: what gateways let an open socket have
    /// after its token's end, and what clocks may differ.
    pub revocation_margin_s: u32,
    /// Life of a refresh token that is not used.
    pub refresh_token_s: u32,
    /// How long a refresh token that was replaced still yields the same successor.
    pub refresh_grace_ms: u32,
    /// Holds the secret that successors of refresh tokens are derived with; made when absent (mode 0600).
    /// All logic instances share it.
    pub refresh_secret_file: PathBuf,
}

impl Default for AuthConfig {
    /// argon2id as OWASP recommends it (19 MiB, 2 passes, 1 lane).
    fn default() -> Self {
        Self {
            argon2_threads: 1,
            argon2_queue: 32,
            argon2_memory_kib: 19 * 1024,
            argon2_passes: 2,
            argon2_lanes: 1,
            access_token_s: 15 * 60,
            revocation_margin_s: 120,
            refresh_token_s: 30 * 24 * 60 * 60,
            refresh_grace_ms: 60_000,
            refresh_secret_file: PathBuf::from("data/refresh.key"),
        }
    }
}

/// How often passwords may be tried and accounts made. One attempt too many is 1012 with a time to retry.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LoginsConfig {
    /// Attempts at one name's password from one address (IPv6: one /64), or at one user's old password when he changes
    /// it, that may follow at once.
    pub name_burst: u32,
    /// After those, one attempt in this time.
    pub name_interval_ms: u64,
    /// Attempts at one name's password from all addresses together that may follow at once.
    pub name_total_burst: u32,
    /// After those, one attempt in this time; who guesses from many addresses makes the name's user wait so long.
    pub name_total_interval_ms: u64,
    /// Attempts from one address (IPv6: one /64), whatever the names, that may follow at once.
    pub address_burst: u32,
    /// After those, one attempt in this time.
    pub address_interval_ms: u64,
    /// Registrations from one address that may follow at once.
    pub register_burst: u32,
    /// After those, one registration in this time.
    pub register_interval_ms: u64,
    /// Limits 127.0.0.0/8 and ::1 like other addresses. Off, since a proxy on this machine stands for everybody.
    pub limit_loopback: bool,
    /// Names with an address, names, and addresses twice, that are remembered; when full those with the fewest attempts are forgotten.
    pub keys_max: usize,
}

impl Default for LoginsConfig {
    fn default() -> Self {
        Self {
            name_burst: 10,
            name_interval_ms: 30_000,
            name_total_burst: 100,
            name_total_interval_ms: 3_000,
            address_burst: 100,
            address_interval_ms: 1000,
            register_burst: 20,
            register_interval_ms: 60_000,
            limit_loopback: false,
            keys_max: 100_000,
        }
    }
}

/// What is told on gochat.events.*.
#[derive(Clone, Debug, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct EventsConfig {
    /// Every stored message, too, on gochat.events.message. Off by default.
    pub messages: bool,
}

/// What one request may ask for.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Longest content of a message; the gateway refuses longer ones, and so does the pipeline.
    pub content_max_bytes: usize,
    /// Entries on a page when none are asked for.
    pub page_default: u32,
    /// Entries on a page at most; a larger wish is cut.
    pub page_max: u32,
    /// Members of a group when its creator says nothing.
    pub group_members_default: u32,
    /// Members of a group at most.
    pub group_members_max: u32,
    /// Users that one request may name (creating a group, adding members, profiles); more is 1000.
    pub users_per_request: usize,
    /// Conversations that one comparison of heads may name; more is 1000.
    pub heads_per_request: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            content_max_bytes: 8192,
            page_default: 50,
            page_max: 200,
            group_members_default: 500,
            group_members_max: 200_000,
            users_per_request: 1000,
            heads_per_request: 10_000,
        }
    }
}

/// The way of a message from upstream to the store.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct PipelineConfig {
    /// Records taken at once; what is there is taken, nothing waits for a batch to fill.
    pub batch_records: usize,
    /// Bytes taken at once; at least one record is. A save must stay below 4 MiB, the limit of a gRPC message.
    pub batch_bytes: usize,
    /// Conversations whose last seq is kept; the one used longest ago is forgotten and read again when needed.
    pub conversations: usize,
    /// Client keys kept for each partition after their messages were finished; for older ones the store is asked.
    pub finished_keys_per_partition: usize,
    /// Members kept for each group under one membership version; when full all are forgotten and asked again.
    pub senders_per_group: usize,
    /// Attempts that follow at once when the store says that what was known is stale.
    pub immediate_attempts: u32,
    /// First wait after a failure; it doubles up to `backoff_max_ms`, and each is jittered by half.
    pub backoff_min_ms: u64,
    pub backoff_max_ms: u64,
    /// Saved rounds that may wait for their distribution; when full the next save waits.
    pub undistributed_rounds: usize,
    /// How long a revoked partition or a shutdown waits for the distribution of what was saved. What is late
    /// is not committed, so the next owner does it again.
    pub drain_ms: u64,
}

impl Default for PipelineConfig {
    fn default() -> Self {
        Self {
            batch_records: 512,
            batch_bytes: 1024 * 1024,
            conversations: 100_000,
            finished_keys_per_partition: 4096,
            senders_per_group: 1024,
            immediate_attempts: 3,
            backoff_min_ms: 50,
            backoff_max_ms: 5000,
            undistributed_rounds: 4,
            drain_ms: 5000,
        }
    }
}

/// Finding the gateways of users, and what happens when a gateway's queue is full.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RoutesConfig {
    /// Life of a cached route, "offline" too; the protocol allows 2,000 at most.
    pub cache_ms: u64,
    /// Users whose routes are cached; when full expired ones go first, then any.
    pub cached_users: usize,
    /// Members in all cached lists of online group members; when full, lists are dropped.
    pub cached_group_members: usize,
    /// Groups with more current members than this are large: their messages are handed to task, and what else concerns
    /// all members is not sent live.
    pub fan_out_members_min: u32,
    /// How long a task that the queue refuses is tried again; then all gateways are told to resync instead.
    pub fan_out_send_ms: u64,
    /// Users named in one downstream record; more are split over several.
    pub users_per_record: usize,
    /// Users of one gateway that are remembered for a resync; beyond that the whole gateway is.
    pub resync_users: usize,
    /// Clients spread their resync over this time.
    pub resync_spread_ms: u32,
    /// How soon a resync that found the queue full is tried again.
    pub resync_retry_ms: u64,
}

impl Default for RoutesConfig {
    fn default() -> Self {
        Self {
            cache_ms: 2000,
            cached_users: 100_000,
            cached_group_members: 200_000,
            fan_out_members_min: 500,
            fan_out_send_ms: 5000,
            users_per_record: 1000,
            resync_users: 1000,
            resync_spread_ms: 3000,
            resync_retry_ms: 250,
        }
    }
}

/// A setting that cannot work.
#[derive(Debug, thiserror::Error)]
#[error("{key}: {reason}")]
pub struct BadConfig {
    pub key: &'static str,
    pub reason: &'static str,
}

impl LogicConfig {
    /// Checks what the types alone cannot.
    pub fn validate(&self) -> Result<(), BadConfig> {
        let bad = |key, reason| Err(BadConfig { key, reason });
        let p = &self.pipeline;
        if self.auth.argon2_threads == 0 || self.auth.argon2_queue == 0 {
            return bad("auth.argon2_threads, auth.argon2_queue", "must be at least 1");
        }
        let l = &self.logins;
        let bursts = [l.name_burst, l.name_total_burst, l.address_burst, l.register_burst];
        if bursts.contains(&0) || l.keys_max == 0 {
            return bad("logins.*_burst, .keys_max", "must be at least 1");
        }
        if p.batch_records == 0 || p.conversations == 0 || p.undistributed_rounds == 0 {
            return bad(
                "pipeline.batch_records, .conversations, .undistributed_rounds",
                "must be at least 1",
            );
        }
        if !(1..=2 * 1024 * 1024).contains(&p.batch_bytes) {
            return bad("pipeline.batch_bytes", "must be 1 to 2097152, so that a save stays below 4 MiB");
        }
        if p.backoff_min_ms == 0 || p.backoff_min_ms > p.backoff_max_ms {
            return bad("pipeline.backoff_min_ms", "must be at least 1 and at most backoff_max_ms");
        }
        if self.routes.cache_ms > 2000 {
            return bad(
                "routes.cache_ms",
                "must be at most 2000: gateways compare heads 3 s after a connect",
            );
        }
        if self.routes.fan_out_members_min == 0 {
            return bad("routes.fan_out_members_min", "must be at least 1");
        }
        if self.routes.users_per_record == 0 || self.routes.users_per_record > 1000 {
            return bad("routes.users_per_record", "must be 1 to 1000");
        }
        if self.limits.page_max == 0 || self.limits.content_max_bytes == 0 {
            return bad("limits.page_max, limits.content_max_bytes", "must be at least 1");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid_and_wrong_settings_are_named() {
        LogicConfig::default().validate().unwrap();
        let check = |change: fn(&mut LogicConfig), key: &str| {
            let mut config = LogicConfig::default();
            change(&mut config);
            assert!(config.validate().unwrap_err().to_string().contains(key));
        };
        check(|c| c.auth.argon2_threads = 0, "argon2_threads");
        check(|c| c.pipeline.batch_bytes = 4 << 20, "batch_bytes");
        check(|c| c.routes.cache_ms = 2001, "cache_ms");
        check(|c| c.pipeline.backoff_min_ms = 6000, "backoff_min_ms");
    }
}
