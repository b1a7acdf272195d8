//! Deleting what nobody needs any more, in portions, the oldest first.
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::writer::Change;
use crate::store::{Result, refuse};

pub(super) const TOKENS: &str = "DELETE FROM refresh_tokens WHERE token_hash IN \
                                 (SELECT token_hash FROM refresh_tokens WHERE expires_at < ? \
                                 ORDER BY expires_at LIMIT ?)";
pub(super) const REVOCATIONS: &str = "DELETE FROM revocations WHERE revocation_id IN \
                                      (SELECT revocation_id FROM revocations WHERE expires_at < ? \
                                      ORDER BY expires_at LIMIT ?)";
/// Reads the whole table, which holds little: a finished task has no cursor.
const TASK_CURSORS: &str = "DELETE FROM task_cursors WHERE task_id IN \
                            (SELECT task_id FROM task_cursors WHERE updated_at < ? \
                            ORDER BY updated_at LIMIT ?)";

impl SqliteStore {
    /// Deletes refresh tokens that expired before a moment, `limit` at most; answers how many.
    pub(crate) async fn purge_tokens(&self, expired_before_ms: i64, limit: u32) -> Result<u64> {
        self.purge(TOKENS, expired_before_ms, limit).await
    }

    /// Deletes revocations that expired before a moment, `limit` at most; answers how many.
    pub(crate) async fn purge_revocations(&self, expired_before_ms: i64, limit: u32) -> Result<u64> {
        self.purge(REVOCATIONS, expired_before_ms, limit).await
    }

    /// Deletes task cursors that were last set before a moment, `limit` at most; answers how many.
    pub(crate) async fn purge_task_cursors(&self, updated_before_ms: i64, limit: u32) -> Result<u64> {
        self.purge(TASK_CURSORS, updated_before_ms, limit).await
    }

    async fn purge(&self, sql: &'static str, before_ms: i64, limit: u32) -> Result<u64> {
        self.writer.change(Purge { sql, before_ms, limit }, 64).await
    }
}

struct Purge {
    /// Takes the moment and the limit.
    sql: &'static str,
    before_ms: i64,
    limit: u32,
}

impl Change for Purge {
    type Out = u64;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<u64> {
        let deleted = sqlx::query(self.sql)
            .bind(self.before_ms)
            .bind(self.limit)
            .execute(conn)
            .await
            .map_err(refuse::database)?;
        Ok(deleted.rows_affected())
    }
}
