//! What a failing disk means: which errors pass by themselves, and which must end the process.
//!
//! *Invariant:* a commit whose fsync failed is never tried again. The kernel may have dropped the pages that
//! it could not write and answers the next fsync with success, so only a process that reads the file anew
//! knows what is there.
//!
//! A checkpoint is another matter: SQLite says nothing when one that runs by itself after a commit fails, and
//! nothing is lost. It counts pages as moved only after the data file's fsync succeeded, so the next one writes
//! all of them again before it syncs, and the log that they come from was synced by the commits.
use std::error::Error as StdError;

use gochat_infra::errors::{Code, Error};
use sqlx::sqlite::SqliteConnection;
use sqlx::{Connection as _, Row as _};

const FULL: u32 = 13;
const IOERR: u32 = 10;
const IOERR_FSYNC: u32 = IOERR | (4 << 8);
const IOERR_DIR_FSYNC: u32 = IOERR | (5 << 8);

/// An fsync that failed because a test asked for it.
#[derive(Debug, thiserror::Error)]
#[error("a fault was asked for")]
struct InjectedSyncFailure;

pub(super) fn injected_sync_failure() -> Error {
    Error::new(Code::Unavailable, "the database did not answer").caused_by(InjectedSyncFailure)
}

/// The disk is full or broken: what failed will fail for every other write too, until the disk is mended.
pub(super) fn disk_failed(error: &Error) -> bool {
    matches!(sqlite_code(error).map(|code| code & 0xff), Some(FULL | IOERR))
}

/// An fsync failed, so that nothing which was written since the last good one can be relied on.
pub(super) fn sync_failed(error: &Error) -> bool {
    let injected = error.source.as_ref().is_some_and(|source| source.is::<InjectedSyncFailure>());
    injected || matches!(sqlite_code(error), Some(IOERR_FSYNC | IOERR_DIR_FSYNC))
}

/// The extended result code, if the error came from SQLite.
fn sqlite_code(error: &Error) -> Option<u32> {
    let source = error.source.as_ref()?.downcast_ref::<sqlx::Error>()?;
    source.as_database_error()?.code()?.parse().ok()
}

/// The reason behind an error, for the log.
pub(super) fn cause(error: &Error) -> String {
    error.source().map_or_else(|| error.to_string(), ToString::to_string)
}

/// Moves all of the write-ahead log into the data file and cuts it to nothing; false when a reader held it up.
pub(super) async fn empty_log(conn: &mut SqliteConnection) -> sqlx::Result<bool> {
    let row = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").fetch_one(conn).await?;
    Ok(row.get::<i64, _>(0) == 0)
}

/// Empties the log and closes the connection, the last one.
pub(super) async fn close(mut conn: SqliteConnection) -> sqlx::Result<bool> {
    let emptied = empty_log(&mut conn).await;
    conn.close().await?;
    emptied
}
