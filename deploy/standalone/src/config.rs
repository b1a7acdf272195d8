//! The settings of the standalone server: one section for each part, checked before anything starts.
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use gochat_gateway::GatewayConfig;
use gochat_infra::cache::MemoryCacheConfig;
use gochat_infra::config::{ConfigError, FixedKey};
use gochat_infra::mq::{EmbeddedConfig, TopicConfig};
use gochat_infra::rpc::RpcConfig;
use gochat_infra::telemetry::LogConfig;
use gochat_logic::LogicConfig;
use gochat_proto::topics;
use gochat_repo::RepoConfig;
use gochat_task::TaskConfig;
use serde::{Deserialize, Serialize};

use crate::{Place, Serve};

/// Everything that a file, `GOCHAT__…` variables or flags may set.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    /// Where clients connect.
    pub(crate) listen: SocketAddr,
    /// Where /healthz, /readyz and /metrics answer. Keep it on loopback: it has no password.
    pub(crate) admin: SocketAddr,
    /// The folder that holds everything that must survive.
    pub(crate) data: PathBuf,
    pub(crate) log: LogConfig,
    /// The embedded queue; its folder is always `queue` in the data folder.
    pub(crate) queue: EmbeddedConfig,
    pub(crate) topics: TopicsConfig,
    pub(crate) cache: MemoryCacheConfig,
    pub(crate) sessions: SessionsConfig,
    pub(crate) rpc: RpcConfig,
    pub(crate) gateway: GatewayConfig,
    pub(crate) logic: LogicConfig,
    pub(crate) task: TaskConfig,
    pub(crate) repo: RepoConfig,
    /// File descriptors that connections leave to the files of queue and store, the admin port and operators; half of the
    /// process's limit at most. A shard takes fewer connections than configured when these would not be left.
    pub(crate) descriptors_reserved: u64,
    /// How often the queue, the store and task are looked at for /readyz, in milliseconds, at least 10.
    pub(crate) health_interval_ms: u64,
    /// How long the copy of the database for a backup may take, in milliseconds; then the backup is given up.
    pub(crate) backup_deadline_ms: u64,
    /// How long a stop waits for commands under way on the control socket, in milliseconds; then they are cut off.
    pub(crate) control_deadline_ms: u64,
    /// How long each stage of a stop may take, in milliseconds.
    pub(crate) stop_deadline_ms: u64,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            listen: SocketAddr::from(([127, 0, 0, 1], 8080)),
            admin: SocketAddr::from(([127, 0, 0, 1], 8081)),
            data: PathBuf::from("./data"),
            log: LogConfig::default(),
            queue: EmbeddedConfig::default(),
            topics: TopicsConfig::default(),
            cache: MemoryCacheConfig::default(),
            sessions: SessionsConfig::default(),
            rpc: RpcConfig::default(),
            gateway: GatewayConfig::default(),
            logic: LogicConfig::default(),
            task: TaskConfig::default(),
            repo: RepoConfig::default(),
            descriptors_reserved: 256,
            health_interval_ms: 1_000,
            backup_deadline_ms: 600_000,
            control_deadline_ms: 5_000,
            stop_deadline_ms: 30_000,
        }
    }
}

/// The bounds of the cache of sessions: who is connected where. They have no other home, so they share it with nothing.
/// When one is reached, the users whose sessions were read least lately get no live deliveries until their next refresh.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct SessionsConfig {
    /// Users, at least 16; more than the connections that the gateway takes.
    pub(crate) max_entries: usize,
    /// Their sessions with overhead, about 500 bytes for a user of one device.
    pub(crate) max_bytes: usize,
}

impl Default for SessionsConfig {
    /// 1,000,000 users, 1 GiB: a bound, taken only as users connect.
    fn default() -> Self {
        SessionsConfig { max_entries: 1_000_000, max_bytes: 1 << 30 }
    }
}

impl SessionsConfig {
    pub(crate) fn bounds(&self) -> MemoryCacheConfig {
        MemoryCacheConfig { max_entries: self.max_entries, max_bytes: self.max_bytes }
    }
}

/// The topics of the embedded queue.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct TopicsConfig {
    /// Partitions of gochat.upstream and gochat.tasks, 1 to 65,536; may grow between restarts, never shrink.
    pub(crate) partitions: u32,
    /// Dead letters younger than this are kept, in hours.
    pub(crate) dead_letter_max_age_h: u64,
    /// The newest bytes of dead letters that are kept.
    pub(crate) dead_letter_max_bytes: u64,
}

impl Default for TopicsConfig {
    /// 6 partitions; dead letters for 30 days, at most 256 MiB.
    fn default() -> Self {
        TopicsConfig { partitions: 6, dead_letter_max_age_h: 30 * 24, dead_letter_max_bytes: 256 << 20 }
    }
}

impl TopicsConfig {
    /// What the queue is opened with. `gateways` is the number of slots.
    pub(crate) fn all(&self, gateways: u32) -> Vec<TopicConfig> {
        let age_ms = self.dead_letter_max_age_h.saturating_mul(3_600_000);
        vec![
            TopicConfig::durable(topics::UPSTREAM, self.partitions),
            TopicConfig::durable(topics::TASKS, self.partitions),
            TopicConfig::kept(topics::DEAD_LETTER, 1, age_ms, self.dead_letter_max_bytes),
            TopicConfig::memory(topics::DOWNSTREAM, gateways),
            TopicConfig::memory(topics::EVENTS_USER, 1),
            TopicConfig::memory(topics::EVENTS_GROUP, 1),
            TopicConfig::memory(topics::EVENTS_MESSAGE, 1),
        ]
    }
}

/// What the standalone server decides by itself: everything lies in one data folder, and clients connect in one
/// place.
const FIXED: &[FixedKey] = &[
    FixedKey { key: "gateway.listen", instead: "say where clients connect with `listen` or --listen" },
    FixedKey { key: "queue.dir", instead: "the queue is always in the data folder, see `data` or --data" },
    FixedKey {
        key: "logic.auth.refresh_secret_file",
        instead: "this file is always in the data folder, see `data` or --data",
    },
    FixedKey {
        key: "repo.sqlite.file",
        instead: "the database is always in the data folder, see `data` or --data",
    },
];

/// Reads the settings of a server, and has each part check its own; flags win over the environment, that over the
/// file.
pub(crate) fn for_server(serve: &Serve) -> Result<Config> {
    let config = load(&serve.place, serve.listen, serve.admin)?;
    ensure!(config.health_interval_ms >= 10, "configuration: health_interval_ms must be at least 10");
    config.gateway.validate().map_err(|wrong| anyhow!("configuration: gateway.{wrong}"))?;
    config.logic.validate().map_err(|wrong| anyhow!("configuration: logic.{wrong}"))?;
    config.task.validate().map_err(|wrong| anyhow!("configuration: task.{wrong}"))?;
    Ok(config)
}

/// Reads the settings for a command beside the server.
pub(crate) fn for_command(place: &Place) -> Result<Config, ConfigError> {
    load(place, None, None)
}

fn load(place: &Place, listen: Option<SocketAddr>, admin: Option<SocketAddr>) -> Result<Config, ConfigError> {
    let flags = [
        ("listen", listen.map(|a| a.to_string())),
        ("admin", admin.map(|a| a.to_string())),
        ("data", place.data.as_ref().map(|p| p.display().to_string())),
    ];
    let flags: Vec<_> = flags.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect();
    gochat_infra::config::load(place.config.as_deref(), std::env::vars(), &flags, FIXED)
}

/// The settings as a TOML file that gives the same settings.
pub(crate) fn effective(config: &Config) -> String {
    let mut table = toml::Table::try_from(config).expect("settings can be written as TOML");
    for fixed in FIXED {
        remove(&mut table, fixed.key);
    }
    table.to_string()
}

fn remove(table: &mut toml::Table, key: &str) {
    match key.split_once('.') {
        None => drop(table.remove(key)),
        Some((section, rest)) => {
            if let Some(section) = table.get_mut(section).and_then(toml::Value::as_table_mut) {
                remove(section, rest);
            }
        }
    }
}
