//! Reading messages back.
use std::collections::HashSet;

use gochat_proto::common::v1::Message;
use gochat_proto::repo::v1::{ClientKey, ConversationBatch};
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::rows::{json_numbers, message, message_at, message_columns, signed, unsigned};
use super::writer::Saved;
use crate::store::{From, MessagesQuery, Page, Result, refuse};

impl SqliteStore {
    /// Judges each batch by itself and saves those that pass, in one transaction with whatever else waits.
    pub(crate) async fn save_messages(&self, batches: Vec<ConversationBatch>) -> Result<Saved> {
        self.writer.save(batches).await
    }

    /// The messages of these ids that exist, in no order.
    pub(crate) async fn messages(&self, ids: &[u64]) -> Result<Vec<Message>> {
        let sql = concat!(
            "SELECT ",
            message_columns!(),
            " FROM json_each(?) AS j CROSS JOIN messages AS m ON m.message_id = j.value \
             CROSS JOIN conversations AS c ON c.conversation_ref = m.conversation_ref"
        );
        let rows = sqlx::query(sql).bind(json_numbers(ids)).fetch_all(&mut *self.readers.get().await?).await;
        Ok(rows.map_err(refuse::database)?.iter().map(message).collect())
    }

    /// The stored messages that have one of these keys, in no order.
    pub(crate) async fn find_messages(&self, keys: &[ClientKey]) -> Result<Vec<Message>> {
        let hash = |key: &ClientKey| (self.key_hash)(&key.conversation_id, key.sender_id, &key.client_msg_id);
        let mut conn = self.readers.get().await?;
        let rows = rows_by_hash(&mut conn, json_numbers(keys.iter().map(hash))).await?;
        let wanted: HashSet<_> = keys
            .iter()
            .map(|key| (&key.conversation_id[..], key.sender_id, &key.client_msg_id[..]))
            .collect();
        let is_wanted =
            |m: &Message| wanted.contains(&(&m.conversation_id[..], m.sender_id, &m.client_msg_id[..]));
        // A hash that was asked for twice (two keys that collide) brings its rows twice.
        let mut seen = HashSet::new();
        let messages = rows.into_iter().map(|(_, message)| message);
        Ok(messages.filter(|m| is_wanted(m) && seen.insert(m.message_id)).collect())
    }

    /// The last seq of a conversation; None when there is no such conversation.
    pub(crate) async fn last_seq(&self, conversation_id: &str) -> Result<Option<u64>> {
        let row = sqlx::query("SELECT last_seq FROM conversations WHERE conversation_id = ?")
            .bind(conversation_id)
            .fetch_optional(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        Ok(row.map(|row| unsigned(&row, 0)))
    }

    /// A page, ascending by seq.
    pub(crate) async fn conversation_messages(
        &self,
        conversation_id: &str,
        query: MessagesQuery,
    ) -> Result<Page<Message>> {
        let (first, last) = match query.from {
            From::After(seq) => (query.min_seq.max(seq.saturating_add(1)), query.max_seq),
            From::Before(seq) => (query.min_seq, query.max_seq.min(seq.saturating_sub(1))),
            From::Newest => (query.min_seq, query.max_seq),
        };
        let ascending = matches!(query.from, From::After(_));
        let rows = sqlx::query(if ascending { PAGE_ASCENDING } else { PAGE_DESCENDING })
            .bind(conversation_id)
            .bind(clamp(first))
            .bind(clamp(last))
            .bind(i64::from(query.limit) + 1)
            .fetch_all(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        let mut page = Page::cut(rows.iter().map(message).collect(), query.limit);
        if !ascending {
            page.items.reverse();
        }
        Ok(page)
    }
}

macro_rules! page_sql {
    ($order:literal) => {
        concat!(
            "SELECT ",
            message_columns!(),
            " FROM conversations AS c CROSS JOIN messages AS m ON m.conversation_ref = c.conversation_ref \
             WHERE c.conversation_id = ? AND m.seq_id BETWEEN ? AND ? ORDER BY m.seq_id ",
            $order,
            " LIMIT ?"
        )
    };
}

const PAGE_ASCENDING: &str = page_sql!("ASC");
const PAGE_DESCENDING: &str = page_sql!("DESC");

fn clamp(seq: u64) -> i64 {
    i64::try_from(seq).unwrap_or(i64::MAX)
}

/// Every message that has one of these key hashes, with its hash: those that are looked for, and others that
/// happen to have the same hash.
pub(super) async fn rows_by_hash(conn: &mut SqliteConnection, hashes: String) -> Result<Vec<(i64, Message)>> {
    let sql = concat!(
        "SELECT ",
        message_columns!(),
        ", k.key_hash FROM json_each(?1) AS j CROSS JOIN message_keys AS k ON k.key_hash = j.value \
         CROSS JOIN messages AS m ON m.message_id = k.message_id \
         CROSS JOIN conversations AS c ON c.conversation_ref = m.conversation_ref \
         UNION ALL SELECT ",
        message_columns!(),
        ", k.key_hash FROM message_key_collisions AS k \
         CROSS JOIN messages AS m ON m.message_id = k.message_id \
         CROSS JOIN conversations AS c ON c.conversation_ref = m.conversation_ref \
         WHERE k.key_hash IN (SELECT value FROM json_each(?1))"
    );
    let rows = sqlx::query(sql).bind(hashes).fetch_all(conn).await.map_err(refuse::database)?;
    Ok(rows.iter().map(|row| (signed(row, 8), message_at(row, 0))).collect())
}
