//! How far tasks that work in pages have come.
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::rows::unsigned;
use super::writer::Change;
use crate::store::{Result, refuse};

impl SqliteStore {
    /// None when the task has no page behind it.
    pub(crate) async fn task_cursor(&self, task_id: &str) -> Result<Option<u64>> {
        let row = sqlx::query("SELECT cursor FROM task_cursors WHERE task_id = ?")
            .bind(task_id)
            .fetch_optional(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        Ok(row.map(|row| unsigned(&row, 0)))
    }

    pub(crate) async fn set_task_cursor(&self, task_id: String, cursor: u64, now_ms: i64) -> Result<()> {
        let bytes = 64 + task_id.len();
        self.writer.change(SetCursor { task_id, cursor, now_ms }, bytes).await
    }

    pub(crate) async fn delete_task_cursor(&self, task_id: String) -> Result<()> {
        let bytes = 64 + task_id.len();
        self.writer.change(DeleteCursor { task_id }, bytes).await
    }
}

struct SetCursor {
    task_id: String,
    cursor: u64,
    now_ms: i64,
}

impl Change for SetCursor {
    type Out = ();

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<()> {
        sqlx::query(
            "INSERT INTO task_cursors (task_id, cursor, updated_at) VALUES (?, ?, ?) \
             ON CONFLICT (task_id) DO UPDATE SET cursor = excluded.cursor, updated_at = excluded.updated_at",
        )
        .bind(&self.task_id)
        .bind(self.cursor.cast_signed())
        .bind(self.now_ms)
        .execute(conn)
        .await
        .map_err(refuse::database)?;
        Ok(())
    }
}

struct DeleteCursor {
    task_id: String,
}

impl Change for DeleteCursor {
    type Out = ();

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<()> {
        let delete = sqlx::query("DELETE FROM task_cursors WHERE task_id = ?").bind(&self.task_id);
        delete.execute(conn).await.map_err(refuse::database)?;
        Ok(())
    }
}
