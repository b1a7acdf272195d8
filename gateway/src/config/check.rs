//! Which settings can be used: each bound on its own, then those that depend on each other.

use gochat_core::Config as Edge;

use super::GatewayConfig;

/// A setting that can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{key} must be {must}")]
pub struct InvalidConfig {
    /// The key, below the gateway's section.
    pub key: String,
    /// What it has to be.
    pub must: String,
}

/// A key, its value, the least and the most.
type Bound = (&'static str, u64, u64, u64);

const DAY_MS: u64 = 24 * 3_600_000;

impl GatewayConfig {
    /// Checks every field on its own, then those that depend on each other.
    ///
    /// # Errors
    /// The first wrong key, and what it must be.
    pub fn validate(&self) -> Result<(), InvalidConfig> {
        let bounds = [self.bounds_of_intake(), self.bounds_of_rates(), self.bounds_of_the_rest()].concat();
        for (key, value, low, high) in bounds {
            if !(low..=high).contains(&value) {
                let must = format!("between {low} and {high}, not {value}");
                return Err(InvalidConfig { key: key.to_owned(), must });
            }
        }
        self.check_sizes()?;
        self.edge_in_use(1)
            .validate()
            .map_err(|error| InvalidConfig { key: format!("edge.{}", error.field), must: error.must })
    }

    fn bounds_of_intake(&self) -> Vec<Bound> {
        let (auth, up, req) = (&self.auth, &self.upstream, &self.requests);
        vec![
            ("auth.connections_per_user_max", auth.connections_per_user_max as u64, 1, 1 << 16),
            ("auth.token_grace_ms", auth.token_grace_ms, 0, DAY_MS),
            ("auth.revocations_max", auth.revocations_max as u64, 1, 1 << 24),
            ("auth.revocations_poll_ms", auth.revocations_poll_ms, 10, DAY_MS),
            ("auth.revocations_retry_ms", auth.revocations_retry_ms, 1, DAY_MS),
            ("auth.revocations_page_max", auth.revocations_page_max.into(), 1, 10_000),
            ("upstream.content_max_bytes", up.content_max_bytes as u64, 1, 1 << 20),
            ("upstream.in_flight_per_connection_max", up.in_flight_per_connection_max.into(), 1, 1 << 20),
            ("upstream.in_flight_per_shard_max", up.in_flight_per_shard_max as u64, 1, 1 << 24),
            ("upstream.refused_conversations_max", up.refused_conversations_max as u64, 1, 1 << 16),
            ("upstream.retry_after_ms", up.retry_after_ms, 1, DAY_MS),
            ("upstream.unfinished_age_max_ms", up.unfinished_age_max_ms, 1, DAY_MS),
            ("upstream.unfinished_per_shard_max", up.unfinished_per_shard_max as u64, 1, 1 << 24),
            ("upstream.unfinished_forget_ms", up.unfinished_forget_ms, up.unfinished_age_max_ms, DAY_MS),
            ("requests.in_flight_per_connection_max", req.in_flight_per_connection_max.into(), 1, 1 << 16),
            ("requests.malformed_in_a_row_max", req.malformed_in_a_row_max.into(), 1, 1 << 16),
            ("requests.heads_max", req.heads_max as u64, 1, 1 << 20),
            ("requests.heads_pages_max", req.heads_pages_max as u64, 0, 1 << 16),
            ("requests.heads_answer_max_bytes", req.heads_answer_max_bytes as u64, 1024, 1 << 30),
            ("requests.page_max", req.page_max.into(), 1, 1000),
            ("requests.page_default", req.page_default.into(), 1, req.page_max.into()),
            ("requests.page_max_bytes", req.page_max_bytes as u64, 1024, 1 << 30),
            ("requests.heads_interval_ms", req.heads_interval_ms, 1_000, DAY_MS),
            ("requests.recheck_after_ms", req.recheck_after_ms, 1, DAY_MS),
            (
                "requests.kept_heads_per_shard_max",
                req.kept_heads_per_shard_max as u64,
                req.heads_max as u64,
                1 << 30,
            ),
            ("requests.rechecks_per_shard_max", req.rechecks_per_shard_max as u64, 0, 1 << 24),
        ]
    }

    fn bounds_of_rates(&self) -> Vec<Bound> {
        // Buckets count in microseconds.
        const RATE_MAX: u64 = 1_000_000;
        let rate = &self.rates;
        vec![
            ("rates.connection_sends_per_s", rate.connection_sends_per_s.into(), 1, RATE_MAX),
            ("rates.connection_sends_burst", rate.connection_sends_burst.into(), 1, RATE_MAX),
            ("rates.connection_requests_per_s", rate.connection_requests_per_s.into(), 1, RATE_MAX),
            ("rates.connection_requests_burst", rate.connection_requests_burst.into(), 1, RATE_MAX),
            ("rates.user_sends_per_s", rate.user_sends_per_s.into(), 1, RATE_MAX),
            ("rates.user_sends_burst", rate.user_sends_burst.into(), 1, RATE_MAX),
            ("rates.user_requests_per_s", rate.user_requests_per_s.into(), 1, RATE_MAX),
            ("rates.user_requests_burst", rate.user_requests_burst.into(), 1, RATE_MAX),
            ("rates.refusals_per_s", rate.refusals_per_s.into(), 1, RATE_MAX),
            ("rates.refusals_burst", rate.refusals_burst.into(), 1, RATE_MAX),
            ("rates.user_rest_per_s", rate.user_rest_per_s.into(), 1, RATE_MAX),
            ("rates.user_rest_burst", rate.user_rest_burst.into(), 1, RATE_MAX),
            ("rates.ip_auth_per_s", rate.ip_auth_per_s.into(), 1, RATE_MAX),
            ("rates.ip_auth_burst", rate.ip_auth_burst.into(), 1, RATE_MAX),
            ("rates.ips_per_shard_max", rate.ips_per_shard_max as u64, 1, 1 << 24),
            ("rates.users_per_shard_max", rate.users_per_shard_max as u64, 1, 1 << 24),
        ]
    }

    fn bounds_of_the_rest(&self) -> Vec<Bound> {
        let (side, alive) = (&self.side, &self.presence);
        let (down, end) = (&self.downstream, &self.drain);
        vec![
            ("rest.page_max", self.rest.page_max.into(), 1, 1000),
            ("rest.page_default", self.rest.page_default.into(), 1, self.rest.page_max.into()),
            ("rest.profiles_max", self.rest.profiles_max.into(), 1, 100),
            ("rest.member_ids_max", self.rest.member_ids_max.into(), 1, 1 << 16),
            ("side.auth_calls_max", side.auth_calls_max as u64, 1, 1 << 16),
            ("side.auth_queue_max", side.auth_queue_max as u64, 1, 1 << 20),
            ("side.data_calls_max", side.data_calls_max as u64, 1, 1 << 16),
            ("side.data_queue_max", side.data_queue_max as u64, 1, 1 << 20),
            (
                "side.lane_max_bytes",
                side.lane_max_bytes.into(),
                4096 + self.edge.body_max_bytes as u64,
                u32::MAX.into(),
            ),
            ("side.retry_after_ms", side.retry_after_ms, 1, DAY_MS),
            ("presence.queue_max", alive.queue_max as u64, 1, 1 << 24),
            ("presence.batch_max", alive.batch_max as u64, 1, 10_000),
            ("presence.refresh_ms", alive.refresh_ms, 1_000, DAY_MS),
            ("presence.ttl_ms", alive.ttl_ms, alive.refresh_ms, 7 * DAY_MS),
            ("presence.retry_min_ms", alive.retry_min_ms, 1, DAY_MS),
            ("presence.retry_max_ms", alive.retry_max_ms, alive.retry_min_ms, DAY_MS),
            ("downstream.post_wait_ms", down.post_wait_ms, 0, 10_000),
            ("downstream.marked_users_max", down.marked_users_max as u64, 0, 1 << 24),
            ("downstream.resync_spread_ms", down.resync_spread_ms, 0, DAY_MS),
            ("downstream.gaps_per_connection_max", down.gaps_per_connection_max as u64, 1, 1024),
            ("downstream.resync_retry_ms", down.resync_retry_ms, 1, DAY_MS),
            ("drain.acks_deadline_ms", end.acks_deadline_ms, 0, DAY_MS),
            ("drain.sessions_deadline_ms", end.sessions_deadline_ms, 0, DAY_MS),
            ("health.interval_ms", self.health.interval_ms, 10, DAY_MS),
            ("health.shard_deadline_ms", self.health.shard_deadline_ms, self.health.interval_ms, DAY_MS),
            ("stats_interval_ms", self.stats_interval_ms, 100, DAY_MS),
        ]
    }

    /// What one client can cause to be queued for himself must fit his outbox, and what he may send must fit a
    /// frame.
    fn check_sizes(&self) -> Result<(), InvalidConfig> {
        let others = self.requests.in_flight_per_connection_max.saturating_sub(1) as usize;
        let answers = self.requests.heads_answer_max_bytes + others * self.requests.page_max_bytes;
        if answers > self.edge.outbox_connection_max_bytes {
            return Err(InvalidConfig {
                key: "edge.outbox_connection_max_bytes".to_owned(),
                must: format!("at least {answers}, the answers that one connection may have in flight"),
            });
        }
        // All gaps are told when half of the outbox is free.
        let gaps = self.downstream.gaps_per_connection_max * 512;
        if gaps > self.edge.outbox_connection_max_bytes {
            return Err(InvalidConfig {
                key: "downstream.gaps_per_connection_max".to_owned(),
                must: format!(
                    "at most {}, or their frames don't fit",
                    self.edge.outbox_connection_max_bytes / 512
                ),
            });
        }
        // The worst escape takes six bytes for one.
        let frame = self.upstream.content_max_bytes * 6 + 1024;
        if frame > self.edge.message_max_bytes || frame > self.edge.frame_max_bytes {
            return Err(InvalidConfig {
                key: "edge.message_max_bytes".to_owned(),
                must: format!(
                    "at least {frame}, as edge.frame_max_bytes, or the longest message doesn't fit"
                ),
            });
        }
        Ok(())
    }

    /// The engine's settings with the shards to start.
    pub(crate) fn edge_in_use(&self, shards: usize) -> Edge {
        Edge { listen: self.listen, driver: self.driver, shards, ..self.edge.clone() }
    }
}

#[cfg(test)]
mod tests {
    use gochat_core::Driver;

    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        GatewayConfig::default().validate().expect("the defaults");
    }

    #[test]
    fn a_file_changes_what_it_names_only() {
        let text = r#"{"listen":"127.0.0.1:0","driver":"epoll","edge":{"tick_ms":20,"trusted_proxies":["10.0.0.0/8","::1"]},"upstream":{"retry_after_ms":7}}"#;
        let config: GatewayConfig = serde_json::from_str(text).expect("known keys");
        assert_eq!(
            (config.driver, config.edge.tick_ms, config.upstream.retry_after_ms),
            (Driver::Epoll, 20, 7)
        );
        let proxies: Vec<String> = config.edge.trusted_proxies.iter().map(ToString::to_string).collect();
        assert_eq!(proxies, ["10.0.0.0/8", "::1"]);
        let written = serde_json::to_value(&config).expect("settings");
        assert_eq!(written["edge"]["trusted_proxies"], serde_json::json!(proxies));
        assert_eq!(config.edge.ping_interval_ms, Edge::default().ping_interval_ms);
        assert_eq!(config.edge_in_use(3).listen, config.listen);
        assert_eq!(config.edge_in_use(3).shards, 3);
    }

    #[test]
    fn unknown_and_wrong_keys_are_named() {
        for (text, word) in [
            (r#"{"edge":{"listen":"127.0.0.1:0"}}"#, "listen"),
            (r#"{"edge":{"ping_interval":1}}"#, "ping_interval"),
            (r#"{"upstream":{"retry_ms":1}}"#, "retry_ms"),
            (r#"{"edge":{"trusted_proxies":["proxy.example"]}}"#, "`proxy.example` is neither an IP address"),
            (r#"{"edge":{"trusted_proxies":["10.0.0.1/8"]}}"#, "write 10.0.0.0/8"),
            (r#"{"edge":{"trusted_proxies":["0.0.0.0/0"]}}"#, "/1 to /32"),
        ] {
            let error = serde_json::from_str::<GatewayConfig>(text).expect_err(text).to_string();
            assert!(error.contains(word), "{error}");
        }
        let check = |change: fn(&mut GatewayConfig), key: &str| {
            let mut config = GatewayConfig::default();
            change(&mut config);
            assert_eq!(config.validate().expect_err(key).key, key);
        };
        check(|c| c.upstream.in_flight_per_shard_max = 0, "upstream.in_flight_per_shard_max");
        check(|c| c.requests.page_default = 101, "requests.page_default");
        check(|c| c.presence.ttl_ms = 1, "presence.ttl_ms");
        check(|c| c.edge.tick_ms = 0, "edge.tick_ms");
        check(|c| c.edge.outbox_connection_max_bytes = 65_536, "edge.outbox_connection_max_bytes");
        check(|c| c.upstream.content_max_bytes = 65_536, "edge.message_max_bytes");
    }

    /// docs/client.md names settings with their defaults.
    #[test]
    fn the_rule_book_has_the_defaults() {
        let page = include_str!("../../../docs/client.md");
        let config = GatewayConfig::default();
        let edge = [
            ("edge.ping_interval_ms", config.edge.ping_interval_ms),
            ("edge.pong_deadline_ms", config.edge.pong_deadline_ms),
            ("edge.message_max_bytes", config.edge.message_max_bytes as u64),
        ];
        let own = [config.bounds_of_intake(), config.bounds_of_rates(), config.bounds_of_the_rest()].concat();
        let defaults: std::collections::HashMap<&str, u64> =
            own.into_iter().map(|(key, value, ..)| (key, value)).chain(edge).collect();
        let numbers = page.split("## Numbers of the server").nth(1).expect("the section");
        let mut rows = 0;
        for row in numbers.lines().filter(|line| line.starts_with("| `")) {
            let key = row.split('`').nth(1).expect("a key");
            let shown = row.trim_end_matches(" |").rsplit("| ").next().expect("a number").replace(',', "");
            let default = defaults.get(key).unwrap_or_else(|| panic!("there is no setting {key}"));
            assert_eq!(shown, default.to_string(), "{key}");
            rows += 1;
        }
        assert!(rows > 20, "{rows} rows");
    }
}
