//! Every bound of the repository, with its unit in its name.
use std::path::PathBuf;

use gochat_infra::mq::FatalHandler;
use serde::{Deserialize, Serialize};

/// Configuration of the repository.
#[derive(Debug, Clone, Default, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RepoConfig {
    /// The embedded database.
    pub sqlite: SqliteConfig,
    /// What one call may ask for or change.
    pub limits: LimitsConfig,
    /// How long and how much the cache keeps.
    pub cache: CacheConfig,
}

/// The embedded database: one file (with its -wal and -shm), one writer, a few readers.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct SqliteConfig {
    /// The data file. Its folder is made when it is missing.
    pub file: PathBuf,
    /// Connections that read, each with a thread of its own.
    pub readers: u32,
    /// How long a read waits for a free connection; then it is refused with 1013.
    pub reader_wait_ms: u64,
    /// Page cache of the writer, in KiB.
    pub writer_cache_kib: u32,
    /// Page cache of each reader, in KiB. Small, since readers read through the memory map.
    pub reader_cache_kib: u32,
    /// How much of the file is mapped into memory at most.
    pub mmap_bytes: u64,
    /// The write-ahead log is copied into the file when it has this many pages of 4 KiB. More pages
    /// mean fewer bytes written and a longer pause for the commit that does it.
    pub wal_autocheckpoint_pages: u32,
    /// Size to which the write-ahead log is cut after a checkpoint.
    pub wal_kept_bytes: u64,
    /// Writes that wait for the writer at most; further ones are refused with 1013.
    pub write_queue_jobs: usize,
    /// Bytes of writes that wait for the writer or are under way at most; further ones are refused with
    /// 1013. A single write larger than this is admitted when nothing else is waiting.
    pub write_queue_bytes: u32,
    /// Waiting writes that share one transaction, and so one fsync, at most.
    pub write_group_jobs: usize,
    /// What a write that a full queue refuses, or a read that found no connection, is told to wait before it tries again.
    pub retry_after_ms: u64,
    /// How long closing waits for reads under way and for the write-ahead log to be moved into the file. After
    /// that the log stays, and the next start reads it.
    pub close_deadline_ms: u64,
    /// What to do when an fsync fails; set by the program.
    #[serde(skip)]
    pub on_fatal: FatalHandler,
    /// For tests only: the fsync of the commit of this number (counted from 1 after opening, the making of
    /// tables left out) counts as failed, after the commit was written. 0, the default, breaks nothing.
    pub fault_fsync_at: u64,
}

impl Default for SqliteConfig {
    fn default() -> Self {
        Self {
            file: PathBuf::from("data/gochat.db"),
            readers: 4,
            reader_wait_ms: 5_000,
            writer_cache_kib: 64 * 1024,
            reader_cache_kib: 2 * 1024,
            mmap_bytes: 2 << 30,
            wal_autocheckpoint_pages: 8_000,
            wal_kept_bytes: 64 << 20,
            write_queue_jobs: 4_096,
            write_queue_bytes: 64 << 20,
            write_group_jobs: 256,
            retry_after_ms: 200,
            close_deadline_ms: 10_000,
            on_fatal: FatalHandler::ending_process("the store"),
            fault_fsync_at: 0,
        }
    }
}

/// What one call may ask for or change. A list longer than its bound is refused with 1000; a page size
/// above its bound is lowered to it.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitsConfig {
    /// Entries of a page (messages, conversations, members); asking for 0 means `page_default`.
    pub page_max: u32,
    /// Entries of a page when the call does not say.
    pub page_default: u32,
    /// Messages in one SaveMessages.
    pub save_messages_max: usize,
    /// Ids or keys in one look-up (GetUsers, GetMessages, FindMessages, states, sessions, members).
    pub lookup_max: usize,
    /// Users in one CreateUsers.
    pub create_users_max: usize,
    /// Users named in one CreateGroup or AddGroupMember.
    pub group_change_max: usize,
    /// Members that a group may allow at most; more, or none, is refused with 1000.
    pub group_members_max: u32,
    /// Groups that a user may be in; who would come into one more is refused with 1018.
    pub groups_per_user_max: u32,
    /// Conversations in one answer of GetUserHeads.
    pub heads_max: u32,
    /// Changes in one SetUserSession.
    pub session_changes_max: usize,
    /// Rows deleted by one purge (of refresh tokens, revocations or task cursors) at most; a larger wish is lowered to it.
    pub purge_max: u32,
    /// How far the moment of a revocation may be ahead of the store's clock; a later one is lowered to it.
    pub revocation_ahead_max_ms: i64,
    /// Bytes of a message's content. The edge has a lower bound; this one guards the table.
    pub content_max_bytes: usize,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            page_max: 1_000,
            page_default: 50,
            save_messages_max: 10_000,
            lookup_max: 10_000,
            create_users_max: 10_000,
            group_change_max: 5_000,
            group_members_max: 200_000,
            groups_per_user_max: 10_000,
            heads_max: 5_000,
            session_changes_max: 10_000,
            purge_max: 10_000,
            revocation_ahead_max_ms: 3_600_000,
            content_max_bytes: 64 * 1024,
        }
    }
}

/// How long and how much the cache keeps.
#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct CacheConfig {
    /// Life of `user_info:{user_id}`.
    pub user_info_ttl_s: u64,
    /// Life of `user_session:{user_id}` after its last change or refresh.
    pub user_session_ttl_s: u64,
    /// Life of `hot_messages:{conversation_id}` after its last message.
    pub hot_messages_ttl_s: u64,
    /// Newest messages kept of each conversation.
    pub hot_messages_max: usize,
    /// Conversations that have a `conv_seq:{conversation_id}`, which does not expire; for one more the oldest goes.
    /// A key takes about 300 bytes, so that these take a tenth of the keys and a twentieth of the bytes of a
    /// memory cache of the default size.
    pub conv_seq_max: usize,
    /// Life of `group_members:{group_id}`.
    pub group_members_ttl_s: u64,
    /// Groups with more members than this are read from the database each time.
    pub group_members_cached_max: usize,
    /// Keys whose removal failed and is tried again at most. When there are more, what the cache says
    /// of users is not believed for as long as an entry can live.
    pub pending_removals_max: usize,
    /// A failing cache is logged once in this time; every failure is counted.
    pub failure_log_period_s: u64,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            user_info_ttl_s: 24 * 3600,
            user_session_ttl_s: 30 * 60,
            hot_messages_ttl_s: 7 * 24 * 3600,
            hot_messages_max: 300,
            conv_seq_max: 20_000,
            group_members_ttl_s: 3600,
            group_members_cached_max: 1_000,
            pending_removals_max: 10_000,
            failure_log_period_s: 10,
        }
    }
}
