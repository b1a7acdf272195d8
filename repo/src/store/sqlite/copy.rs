//! The store as a whole: a copy of it while it is written, and the epoch of a copy that takes its place.
//!
//! `VACUUM INTO` reads within one transaction, so the copy is that of one commit, and it locks no writer out:
//! the write-ahead log grows meanwhile, since what the copy's reader may still need can't be overwritten.
use std::fs::{File, OpenOptions};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use gochat_infra::errors::{Code, Error};
use sqlx::sqlite::{SqliteConnectOptions, SqliteSynchronous};
use sqlx::{ConnectOptions as _, Connection as _};

use super::SqliteStore;
use super::disk;
use super::open::{cannot_open, read_epoch};
use crate::store::{Result, refuse};

impl SqliteStore {
    /// Writes a copy to a file that must not exist; on disk when this returns. Answers its size.
    ///
    /// # Errors
    /// 1000 when the file exists or can't be made, 1013 while another copy is being made, 1014 when writing
    /// fails (nothing is left of the file).
    pub(crate) async fn copy_to(&self, path: PathBuf) -> Result<u64> {
        let Ok(_alone) = self.copying.try_lock() else {
            return Err(Error::new(Code::Overloaded, "a copy of the database is being made already"));
        };
        // Made here, so that nobody else's file is ever written into and nobody else may read this one.
        let made = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&path);
        made.map_err(|error| refuse::invalid(format!("{} can't be made: {error}", path.display())))?;
        let copied = self.vacuum_into(&path).await;
        if copied.is_err() {
            // What is left would look like a copy.
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::error!(%error, file = %path.display(), "a copy that failed can't be removed");
            }
        }
        copied
    }

    async fn vacuum_into(&self, path: &Path) -> Result<u64> {
        let mut conn = self.copy_options.connect().await.map_err(refuse::database)?;
        let text = path.to_str().ok_or_else(|| refuse::invalid("the path must be UTF-8"))?;
        let copied = sqlx::query("VACUUM INTO ?").bind(text).execute(&mut conn).await;
        let closed = conn.close().await;
        // The place is the caller's choice: he is told what is wrong with it.
        copied.map(drop).and(closed).map_err(|error| {
            let cause = disk::cause(&refuse::database(error));
            Error::new(Code::Unavailable, format!("{} can't be written: {cause}", path.display()))
        })?;
        let synced = tokio::task::spawn_blocking({
            let path = path.to_owned();
            move || sync(&path)
        });
        let synced = synced.await.map_err(|_| refuse::broken("the sync of a copy was broken off"))?;
        synced.map_err(|error| {
            Error::new(Code::Unavailable, format!("{} can't be synced: {error}", path.display()))
        })
    }
}

/// Brings a file and its name to the disk; answers its size.
fn sync(path: &Path) -> std::io::Result<u64> {
    let file = File::open(path)?;
    file.sync_all()?;
    if let Some(folder) = path.parent() {
        File::open(folder)?.sync_all()?;
    }
    Ok(file.metadata()?.len())
}

/// Says that a data file holds an older history than the one that clients have seen: raises its epoch to
/// `now_ms`, or by one when it is there already. For a file that no program has open, after a restore.
/// Answers the new epoch.
///
/// # Errors
/// The file is not there, is no data file, or can't be written.
pub async fn raise_epoch(file: &Path, now_ms: u64) -> Result<u64> {
    // Extra: the journal's removal is synced too, or a power loss could take the new epoch back.
    let options = SqliteConnectOptions::new().filename(file).synchronous(SqliteSynchronous::Extra);
    let failed = |error: sqlx::Error| cannot_open(file, error.to_string());
    let mut conn = options.disable_statement_logging().connect().await.map_err(failed)?;
    let epoch = read_epoch(&mut conn).await.map_err(failed)?.saturating_add(1).max(now_ms);
    let update = sqlx::query("UPDATE meta SET value = ? WHERE name = 'epoch'").bind(epoch.cast_signed());
    update.execute(&mut conn).await.map_err(failed)?;
    conn.close().await.map_err(failed)?;
    Ok(epoch)
}
