//! SQL and nothing else: what is stored, in which transaction, and how it is read back. Knows no cache.
//!
//! One dialect exists today, so `Store` is that dialect's store; a second one makes it an enum, and the
//! suite runs on both.
pub(crate) mod conversation_id;
pub(crate) mod message_key;
pub(crate) mod refuse;
mod sqlite;

use gochat_infra::errors::Error;
use gochat_proto::repo::v1::{ConversationSummary, User};

pub(crate) use sqlite::SqliteStore as Store;
pub use sqlite::raise_epoch;

pub(crate) type Result<T> = std::result::Result<T, Error>;

/// A user and the version of his row, which a cached copy must match.
#[derive(Debug, Clone)]
pub(crate) struct VersionedUser {
    pub(crate) user: User,
    pub(crate) version: u64,
}

/// A page and whether more follows.
#[derive(Debug)]
pub(crate) struct Page<T> {
    pub(crate) items: Vec<T>,
    pub(crate) has_more: bool,
}

impl<T> Page<T> {
    /// Of rows that were read with a limit one above the page's.
    pub(crate) fn cut(mut items: Vec<T>, limit: u32) -> Self {
        let has_more = items.len() > limit as usize;
        items.truncate(limit as usize);
        Self { items, has_more }
    }
}

/// Which messages of a conversation a page starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    After(u64),
    Before(u64),
    Newest,
}

/// A page of messages that is asked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct MessagesQuery {
    pub(crate) from: From,
    /// At least 1, bounded by the caller.
    pub(crate) limit: u32,
    /// Inclusive.
    pub(crate) min_seq: u64,
    /// Inclusive.
    pub(crate) max_seq: u64,
}

/// Where a page of a user's conversations begins: after this entry, in the order last changed first.
#[derive(Debug, Clone)]
pub(crate) struct ConversationsCursor {
    pub(crate) updated_at_ms: i64,
    pub(crate) conversation_id: String,
}

/// What a read pointer is moved to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ReadMark {
    pub(crate) conversation_id: String,
    pub(crate) user_id: u64,
    pub(crate) seq: u64,
}

/// The bounds within which a user may read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Membership {
    pub(crate) joined_seq: u64,
    pub(crate) left_seq: Option<u64>,
    pub(crate) last_seq: u64,
}

/// A current member of a group and where his view begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MemberSince {
    pub(crate) user_id: u64,
    pub(crate) joined_seq: u64,
}

pub(crate) type Conversations = Page<ConversationSummary>;

/// Milliseconds since the Unix epoch.
pub(crate) fn unix_ms() -> i64 {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    now.map_or(0, |since| i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}
