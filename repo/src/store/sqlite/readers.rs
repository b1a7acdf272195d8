//! The connections that read, lent one at a time.
use std::time::Instant;

use gochat_infra::errors::{Code, Error};
use sqlx::Sqlite;
use sqlx::pool::PoolConnection;
use sqlx::sqlite::SqlitePool;

use crate::metrics::RepoMetrics;
use crate::store::{Result, refuse};

/// A bounded set of reading connections.
pub(super) struct Readers {
    pool: SqlitePool,
    retry_after_ms: u64,
    metrics: RepoMetrics,
}

impl Readers {
    pub(super) fn new(pool: SqlitePool, retry_after_ms: u64, metrics: RepoMetrics) -> Self {
        Self { pool, retry_after_ms, metrics }
    }

    /// Lends a connection until it is dropped.
    ///
    /// # Errors
    /// 1013 with a time to retry when none came free in `reader_wait_ms`.
    pub(super) async fn get(&self) -> Result<PoolConnection<Sqlite>> {
        let asked = Instant::now();
        let got = self.pool.acquire().await;
        self.metrics.reader_waited(asked.elapsed());
        got.map_err(|error| match error {
            sqlx::Error::PoolTimedOut => {
                self.metrics.read_refused();
                Error::new(Code::Overloaded, "too many reads are waiting for the database")
                    .retry_after_ms(self.retry_after_ms)
            }
            other => refuse::database(other),
        })
    }

    pub(super) async fn close(&self) {
        self.pool.close().await;
    }
}
