//! The connections that read, lent one at a time.
use std::time::{Duration, Instant};

use gochat_infra::errors::{Code, Error};
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;

use crate::config::SqliteConfig;
use crate::metrics::RepoMetrics;
use crate::store::{Result, refuse};

/// A bounded set of reading connections.
pub(super) struct Readers {
    pool: SqlitePool,
    wait: Duration,
    retry_after_ms: u64,
    metrics: RepoMetrics,
}

impl Readers {
    pub(super) fn new(pool: SqlitePool, config: &SqliteConfig, metrics: RepoMetrics) -> Self {
        let wait = Duration::from_millis(config.reader_wait_ms);
        Self { pool, wait, retry_after_ms: config.retry_after_ms, metrics }
    }

    /// Lends a connection until it is dropped.
    ///
    /// # Errors
    /// 1013 with a time to retry when none came free in `reader_wait_ms`.
    pub(super) async fn get(&self) -> Result<PoolConnection<Sqlite>> {
        let asked = Instant::now();
        let got = tokio::time::timeout(self.wait, self.pool.acquire()).await;
        self.metrics.reader_waited(asked.elapsed());
        match got {
            Ok(Ok(reader)) => Ok(reader),
            Err(_) | Ok(Err(sqlx::Error::PoolTimedOut)) => {
                self.metrics.read_refused();
                Err(Error::new(Code::Overloaded, "too many reads are waiting for the database")
                    .retry_after_ms(self.retry_after_ms))
            }
            Ok(Err(other)) => Err(refuse::database(other)),
        }
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}
