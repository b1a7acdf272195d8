//! The only owner of data: users, messages, groups, conversations, over gRPC.
//!
//! `grpc` is the face, `service` checks calls and keeps the cache beside the store, `cache` knows keys and
//! encodings, `store` knows SQL.
//!
//! *Invariants:* the database is the truth and the cache a copy that may be gone at any time (but sessions
//! live in a cache of their own alone); messages are inserted by one transaction at a time; an answer to a write is
//! given after its commit reached the disk.
#![forbid(unsafe_code)]

mod cache;
mod config;
mod grpc;
mod metrics;
mod service;
mod store;
#[cfg(test)]
mod suite;

use std::sync::Arc;

use gochat_infra::cache::Cache;
use gochat_infra::errors::Error;
use gochat_infra::telemetry::Metrics;
use tonic::service::Routes;

pub use config::{CacheConfig, LimitsConfig, RepoConfig, SqliteConfig};

use cache::Caches;
use metrics::RepoMetrics;
use service::{Service, Shared};
pub use store::raise_epoch;

use store::Store;
use store::message_key::{KeyHash, key_hash};

/// What the repository is given.
pub struct RepoDeps {
    /// Where copies are kept. It is full most of the time, and lets copies go for others.
    pub cache: Cache,
    /// Where sessions are kept, which have no other home: apart, so that no flood of copies drives them out.
    pub sessions: Cache,
    /// Where its counters are registered.
    pub metrics: Metrics,
}

/// The repository, open.
pub struct Repo {
    service: Shared,
}

impl Repo {
    /// Opens the data, making it or bringing it up to date. Must be called within a tokio runtime.
    ///
    /// # Errors
    /// The data can't be opened, or was written by a newer program; the message says which file and why.
    pub async fn open(config: RepoConfig, deps: RepoDeps) -> Result<Repo, Error> {
        Box::pin(Self::open_with(config, deps, key_hash)).await
    }

    async fn open_with(config: RepoConfig, deps: RepoDeps, key_hash: KeyHash) -> Result<Repo, Error> {
        let metrics = RepoMetrics::register(&deps.metrics);
        let store = Store::open(&config.sqlite, key_hash, &metrics).await?;
        let caches = Caches::new(deps.cache, deps.sessions, config.cache, metrics.clone());
        Ok(Repo { service: Arc::new(Service { store, caches, limits: config.limits, metrics }) })
    }

    /// The services UserRepo, MessageRepo, GroupRepo, ConversationRepo, RevocationRepo, TaskRepo and StoreRepo.
    pub fn routes(&self) -> Routes {
        grpc::routes(&self.service)
    }

    /// Finishes the writes that were admitted, refuses further ones, moves the write-ahead log into the file
    /// (within `close_deadline_ms`), and closes the data.
    pub async fn close(&self) {
        self.service.store.close().await;
    }
}
