//! Opening the file: pragmas, migrations, the writer and the readers.
use std::path::Path;
use std::time::Duration;

use gochat_infra::errors::{Code, Error};
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::sqlite::{
    SqliteConnectOptions, SqliteConnection, SqliteJournalMode, SqlitePool, SqlitePoolOptions,
    SqliteSynchronous,
};
use sqlx::{ConnectOptions, Row};

use super::disk;
use super::readers::Readers;
use super::writer::Writer;
use crate::config::SqliteConfig;
use crate::metrics::RepoMetrics;
use crate::store::message_key::KeyHash;
use crate::store::{Result, refuse};

/// How long opening a reader may take at a start.
const OPEN_WAIT: Duration = Duration::from_secs(60);

static MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The embedded database.
pub(crate) struct SqliteStore {
    pub(super) readers: Readers,
    pub(super) writer: Writer,
    pub(super) key_hash: KeyHash,
    /// Of the connection that a copy is made through.
    pub(super) copy_options: SqliteConnectOptions,
    /// Held while a copy is made.
    pub(super) copying: tokio::sync::Mutex<()>,
    close_deadline: Duration,
    epoch: u64,
}

impl SqliteStore {
    /// Opens the file, makes it when it is missing, and brings its tables up to date.
    ///
    /// # Errors
    /// The folder or file can't be made or read; the file is of a newer program; a migration failed.
    pub(crate) async fn open(
        config: &SqliteConfig,
        key_hash: KeyHash,
        metrics: &RepoMetrics,
    ) -> Result<Self> {
        if let Some(folder) = config.file.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            std::fs::create_dir_all(folder)
                .map_err(|error| cannot_open(&config.file, format!("its folder can't be made: {error}")))?;
        }
        let mut conn = writer_options(config)
            .connect()
            .await
            .map_err(|error| cannot_open(&config.file, error.to_string()))?;
        migrate(&config.file, &mut conn).await?;
        begin_log_anew(&config.file, &mut conn).await?;
        let epoch = read_epoch(&mut conn).await.map_err(refuse::database)?;
        let pool = open_readers(config).await?;
        let readers = Readers::new(pool, config, metrics.clone());
        let writer = Writer::start(conn, writer_options(config), config, key_hash, metrics);
        let copy_options = reader_options(config).thread_name(|_| "repo-copy".to_owned());
        let close_deadline = Duration::from_millis(config.close_deadline_ms);
        let copying = Default::default();
        Ok(Self { readers, writer, key_hash, copy_options, copying, close_deadline, epoch })
    }

    /// Which history this is; raised when older data is restored, which happens only while no program has
    /// the file open.
    pub(crate) fn epoch(&self) -> u64 {
        self.epoch
    }

    /// Finishes the writes that were admitted, then closes every connection. The readers go first: only a
    /// connection that is alone can empty the log.
    pub(crate) async fn close(&self) {
        let writer = self.writer.close().await;
        let closing = async {
            self.readers.close().await;
            match writer {
                Some(conn) => disk::close(conn).await,
                None => Ok(false),
            }
        };
        match tokio::time::timeout(self.close_deadline, closing).await {
            Ok(Ok(true)) => {}
            Ok(Ok(false)) => tracing::info!("the database was closed with some of its write-ahead log left"),
            Ok(Err(error)) => {
                tracing::warn!(%error, "the write-ahead log stays: it can't be moved into the file")
            }
            Err(_) => tracing::warn!("the write-ahead log stays: moving it into the file took too long"),
        }
    }
}

fn options(config: &SqliteConfig, cache_kib: u32) -> SqliteConnectOptions {
    SqliteConnectOptions::new()
        .filename(&config.file)
        .foreign_keys(false)
        .busy_timeout(Duration::from_secs(5))
        .statement_cache_capacity(256)
        .row_buffer_size(1_024)
        .pragma("cache_size", format!("-{cache_kib}"))
        .pragma("mmap_size", config.mmap_bytes.to_string())
        // Else the undo log of a statement of many rows goes through a file.
        .pragma("temp_store", "MEMORY")
        .disable_statement_logging()
}

fn writer_options(config: &SqliteConfig) -> SqliteConnectOptions {
    options(config, config.writer_cache_kib)
        .create_if_missing(true)
        .journal_mode(SqliteJournalMode::Wal)
        .synchronous(SqliteSynchronous::Full)
        .pragma("wal_autocheckpoint", config.wal_autocheckpoint_pages.to_string())
        .pragma("journal_size_limit", config.wal_kept_bytes.to_string())
        .thread_name(|_| "repo-writer".to_owned())
}

fn reader_options(config: &SqliteConfig) -> SqliteConnectOptions {
    options(config, config.reader_cache_kib).read_only(true)
}

/// Moves what a crash left in the write-ahead log into the file. After a failed fsync the log may be whole in
/// memory and broken on the disk; what is appended to it would be lost with it when the power fails.
async fn begin_log_anew(file: &Path, conn: &mut SqliteConnection) -> Result<()> {
    match disk::empty_log(conn).await.map_err(refuse::database) {
        Ok(_) => Ok(()),
        Err(error) if disk::sync_failed(&error) => Err(cannot_open(file, disk::cause(&error))),
        Err(error) => {
            let cause = disk::cause(&error);
            tracing::warn!(
                cause,
                "the write-ahead log can't be moved into the data file yet; going on with it"
            );
            Ok(())
        }
    }
}

async fn open_readers(config: &SqliteConfig) -> Result<SqlitePool> {
    let options = reader_options(config).thread_name(|id| format!("repo-reader-{id}"));
    let readers = config.readers.max(1);
    SqlitePoolOptions::new()
        .min_connections(readers)
        .max_connections(readers)
        // Longer than `reader_wait_ms`, which is for who reads: opening them takes its time on a busy machine.
        .acquire_timeout(Duration::from_millis(config.reader_wait_ms).max(OPEN_WAIT))
        .idle_timeout(None)
        .max_lifetime(None)
        // A ping is a hop to the connection's thread for every read.
        .test_before_acquire(false)
        .connect_with(options)
        .await
        .map_err(|error| cannot_open(&config.file, error.to_string()))
}

async fn migrate(file: &Path, conn: &mut SqliteConnection) -> Result<()> {
    MIGRATIONS.run(conn).await.map_err(|error| match error {
        MigrateError::VersionMissing(found) => {
            let known = MIGRATIONS.iter().map(|migration| migration.version).max().unwrap_or(0);
            let reason = format!(
                "it was written by a newer gochat (its schema has version {found}, this program knows \
                 {known}); start that newer gochat, or restore a copy of the data made before it ran"
            );
            cannot_open(file, reason)
        }
        MigrateError::VersionMismatch(version) => {
            let reason = format!("schema version {version} is not the one that this program made");
            cannot_open(file, reason)
        }
        other => cannot_open(file, other.to_string()),
    })
}

pub(super) async fn read_epoch(conn: &mut SqliteConnection) -> sqlx::Result<u64> {
    let row = sqlx::query("SELECT value FROM meta WHERE name = 'epoch'").fetch_one(conn).await?;
    Ok(row.get::<i64, _>(0).cast_unsigned())
}

pub(super) fn cannot_open(file: &Path, reason: String) -> Error {
    Error::new(Code::Internal, format!("the data file {} can't be opened: {reason}", file.display()))
}

#[cfg(test)]
impl SqliteStore {
    /// One of the readers, kept from everybody else.
    pub(crate) async fn lend_reader(&self) -> sqlx::pool::PoolConnection<sqlx::Sqlite> {
        self.readers.get().await.unwrap()
    }

    pub(crate) fn faults(&self) -> &super::writer::faults::Faults {
        &self.writer.faults
    }

    /// Makes a file as the first program did, in which users 1 and 2 are in groups 1 to 4 and 1 has left group 4.
    pub(crate) async fn make_first_schema(file: &Path) {
        std::fs::create_dir_all(file.parent().unwrap()).unwrap();
        let options = SqliteConnectOptions::new().filename(file).create_if_missing(true);
        let mut conn = options.connect().await.unwrap();
        let mut first = sqlx::migrate!("migrations/sqlite");
        first.migrations.to_mut().truncate(1);
        first.run(&mut conn).await.unwrap();
        sqlx::raw_sql(
            "INSERT INTO users SELECT value, 'u' || value, 'u' || value, 'e' || value, 'e' || value, 'h', '', '', \
             1, 1, 0, 0 FROM json_each('[1,2]'); \
             INSERT INTO \"groups\" SELECT value, 'g', '', 2, 2, 5, 1, 1, 0, 0 FROM json_each('[1,2,3,4,5]'); \
             INSERT INTO conversations (conversation_id, type, group_id, last_seq, created_at, updated_at) \
             SELECT 'group_' || group_id, 2, group_id, 0, 0, 0 FROM \"groups\"; \
             INSERT INTO group_members SELECT group_id, value, 1, 0 FROM json_each('[1,2]') \
             CROSS JOIN \"groups\" WHERE group_id <> 4 OR value = 2;",
        )
        .execute(&mut conn)
        .await
        .unwrap();
        sqlx::Connection::close(conn).await.unwrap();
    }

    /// Marks the file as if a later program had brought it up to date.
    pub(crate) async fn pretend_newer_schema(&self, file: &Path) {
        let mut conn = SqliteConnectOptions::new().filename(file).connect().await.unwrap();
        sqlx::query(
            "INSERT INTO _sqlx_migrations (version, description, success, checksum, execution_time) \
             VALUES (9999, 'later', TRUE, x'00', 0)",
        )
        .execute(&mut conn)
        .await
        .unwrap();
        sqlx::Connection::close(conn).await.unwrap();
    }
}
