//! Conversations as their users see them: states, lists, heads, bounds, read pointers.
use std::collections::HashMap;

use gochat_proto::common::v1::Head;
use gochat_proto::repo::v1::{
    ConversationState, ConversationSummary, ConversationType, GetUserHeadsResponse, MarkReadResponse,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::SqliteStore;
use super::rows::{json_texts, message_at, message_columns, optional, signed, small, text, unsigned};
use super::save::json_triples;
use crate::store::conversation_id::ConversationId;
use crate::store::{Conversations, ConversationsCursor, Membership, Page, ReadMark, Result, refuse};

/// When a conversation last changed as far as its member may see.
macro_rules! changed_at {
    () => {
        "CASE WHEN m.left_at IS NULL THEN max(c.updated_at, m.joined_at) ELSE m.left_at END"
    };
}

/// The last seq that a member may see.
macro_rules! visible_seq {
    () => {
        "min(c.last_seq, coalesce(m.left_seq, c.last_seq))"
    };
}

impl SqliteStore {
    /// One for each id, in their order.
    pub(crate) async fn conversation_states(&self, ids: &[String]) -> Result<Vec<ConversationState>> {
        let rows = sqlx::query(
            "SELECT j.key, c.last_seq, g.version FROM json_each(?) AS j \
             CROSS JOIN conversations AS c ON c.conversation_id = j.value \
             LEFT JOIN \"groups\" AS g ON g.group_id = c.group_id",
        )
        .bind(json_texts(ids.iter().map(String::as_str)))
        .fetch_all(&mut *self.readers.get().await?)
        .await
        .map_err(refuse::database)?;
        let named = |id: &String| ConversationState { conversation_id: id.clone(), ..Default::default() };
        let mut states: Vec<_> = ids.iter().map(named).collect();
        for row in &rows {
            let Some(state) = states.get_mut(small::<usize>(row, 0)) else { continue };
            state.exists = true;
            state.last_seq = unsigned(row, 1);
            state.group_version = optional(row, 2).unwrap_or(0);
        }
        Ok(states)
    }

    /// A user's conversations, last changed first, those he has left included.
    pub(crate) async fn user_conversations(
        &self,
        user_id: u64,
        after: Option<&ConversationsCursor>,
        limit: u32,
    ) -> Result<Conversations> {
        let sql = concat!(
            "WITH page AS (SELECT ",
            changed_at!(),
            " AS changed_at, ",
            visible_seq!(),
            " AS visible_seq, c.conversation_id, c.conversation_ref, c.type, c.group_id, m.joined_seq, \
             m.read_seq, m.left_seq FROM conversation_members AS m \
             CROSS JOIN conversations AS c ON c.conversation_ref = m.conversation_ref \
             WHERE m.user_id = ?1 AND (?2 OR (changed_at, c.conversation_id) < (?3, ?4)) \
             ORDER BY changed_at DESC, c.conversation_id DESC LIMIT ?5) \
             SELECT c.conversation_id, c.type, c.visible_seq, c.joined_seq, c.read_seq, c.left_seq, \
             c.changed_at, c.conversation_ref, g.group_name, ",
            message_columns!(),
            " FROM page AS c LEFT JOIN \"groups\" AS g ON g.group_id = c.group_id \
             LEFT JOIN messages AS m ON m.conversation_ref = c.conversation_ref \
             AND m.seq_id = c.visible_seq AND m.seq_id > c.joined_seq \
             ORDER BY c.changed_at DESC, c.conversation_id DESC"
        );
        let rows = sqlx::query(sql)
            .bind(user_id.cast_signed())
            .bind(after.is_none())
            .bind(after.map_or(0, |after| after.updated_at_ms))
            .bind(after.map_or("", |after| &after.conversation_id))
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        let items: Vec<_> = rows.iter().map(|row| (signed(row, 7), summary(row))).collect();
        let mut page = Page::cut(items, limit);
        self.add_peers(user_id, &mut page.items).await?;
        let items = page.items.into_iter().map(|(_, summary)| summary).collect();
        Ok(Page { items, has_more: page.has_more })
    }

    /// Names single conversations after the other user and says how far he has read.
    async fn add_peers(&self, user_id: u64, summaries: &mut [(i64, ConversationSummary)]) -> Result<()> {
        let peer = |(index, (reference, summary)): (usize, &(i64, ConversationSummary))| {
            let peer = ConversationId::parse(&summary.conversation_id)?.peer_of(user_id)?;
            Some([index as i64, peer.cast_signed(), *reference])
        };
        let peers: Vec<[i64; 3]> = summaries.iter().enumerate().filter_map(peer).collect();
        if peers.is_empty() {
            return Ok(());
        }
        let rows = sqlx::query(
            "SELECT j.value->>0, u.display_name, m.read_seq FROM json_each(?) AS j \
             CROSS JOIN users AS u ON u.user_id = j.value->>1 \
             LEFT JOIN conversation_members AS m ON m.user_id = u.user_id AND m.conversation_ref = j.value->>2",
        )
        .bind(json_triples(peers.into_iter()))
        .fetch_all(&mut *self.readers.get().await?)
        .await
        .map_err(refuse::database)?;
        for row in &rows {
            if let Some((_, summary)) = summaries.get_mut(small::<usize>(row, 0)) {
                summary.name = text(row, 1);
                summary.peer_read_seq = optional(row, 2);
            }
        }
        Ok(())
    }

    /// The heads of a user's conversations, last changed first, `limit` at most.
    pub(crate) async fn user_heads(&self, user_id: u64, limit: u32) -> Result<GetUserHeadsResponse> {
        let sql = concat!(
            "SELECT c.conversation_id, ",
            visible_seq!(),
            " FROM conversation_members AS m \
             CROSS JOIN conversations AS c ON c.conversation_ref = m.conversation_ref \
             WHERE m.user_id = ? ORDER BY ",
            changed_at!(),
            " DESC LIMIT ?"
        );
        let rows = sqlx::query(sql)
            .bind(user_id.cast_signed())
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        let head = |row| Head { conversation_id: text(row, 0), last_seq: unsigned(row, 1) };
        let page = Page::cut(rows.iter().map(head).collect(), limit);
        Ok(GetUserHeadsResponse { heads: page.items, epoch: self.epoch(), truncated: page.has_more })
    }

    /// The bounds within which a user may read; None when he never was a member.
    pub(crate) async fn membership(&self, conversation_id: &str, user_id: u64) -> Result<Option<Membership>> {
        let row = sqlx::query(
            "SELECT m.joined_seq, m.left_seq, c.last_seq FROM conversations AS c \
             CROSS JOIN conversation_members AS m ON m.conversation_ref = c.conversation_ref \
             WHERE c.conversation_id = ? AND m.user_id = ?",
        )
        .bind(conversation_id)
        .bind(user_id.cast_signed())
        .fetch_optional(&mut *self.readers.get().await?)
        .await
        .map_err(refuse::database)?;
        Ok(row.map(|row| Membership {
            joined_seq: unsigned(&row, 0),
            left_seq: optional(&row, 1),
            last_seq: unsigned(&row, 2),
        }))
    }

    /// Moves a read pointer forward, not past what its user may see.
    ///
    /// # Errors
    /// 1004 when he never was a member.
    pub(crate) async fn mark_read(&self, mark: ReadMark) -> Result<MarkReadResponse> {
        self.writer.mark_read(mark).await
    }
}

fn summary(row: &SqliteRow) -> ConversationSummary {
    let kind: i32 = small(row, 1);
    let (visible, joined) = (unsigned(row, 2), unsigned(row, 3));
    // Who joined later has read what was said before he came: it is hidden from him.
    let read = unsigned(row, 4).max(joined);
    let conversation_id = text(row, 0);
    let name = match ConversationType::try_from(kind) {
        Ok(ConversationType::Group) => text(row, 8),
        Ok(ConversationType::World) => conversation_id.clone(),
        // The other user's name, which the caller adds.
        _ => String::new(),
    };
    ConversationSummary {
        conversation_id,
        r#type: kind,
        name,
        last_message: optional(row, 9).map(|_| message_at(row, 9)),
        last_seq: visible,
        read_seq: read,
        unread_count: visible.saturating_sub(read),
        updated_at_ms: signed(row, 6),
        left: optional(row, 5).is_some(),
        peer_read_seq: None,
    }
}

/// Moves the pointers of a group of calls; None for a user who never was a member.
pub(super) async fn mark_read(
    conn: &mut SqliteConnection,
    marks: &[&ReadMark],
) -> Result<Vec<Option<MarkReadResponse>>> {
    struct Pointer {
        key: (i64, i64),
        now: u64,
        bound: u64,
    }
    let list: Vec<_> = marks.iter().map(|mark| (&mark.conversation_id, mark.user_id)).collect();
    let sql = concat!(
        "SELECT j.key, m.user_id, m.conversation_ref, max(m.read_seq, m.joined_seq), ",
        visible_seq!(),
        " FROM json_each(?) AS j CROSS JOIN conversations AS c ON c.conversation_id = j.value->>0 \
         CROSS JOIN conversation_members AS m \
         ON m.user_id = j.value->>1 AND m.conversation_ref = c.conversation_ref"
    );
    let rows = sqlx::query(sql)
        .bind(serde_json::to_string(&list).expect("strings and numbers become JSON"))
        .fetch_all(&mut *conn)
        .await
        .map_err(refuse::database)?;
    let mut pointers: Vec<Option<Pointer>> = marks.iter().map(|_| None).collect();
    for row in &rows {
        if let Some(pointer) = pointers.get_mut(small::<usize>(row, 0)) {
            let key = (signed(row, 1), signed(row, 2));
            *pointer = Some(Pointer { key, now: unsigned(row, 3), bound: unsigned(row, 4) });
        }
    }
    // Two devices of a user may mark the same conversation in one group: the later call starts from where
    // the earlier one left the pointer.
    let mut moved: HashMap<(i64, i64), u64> = HashMap::new();
    let outcomes = marks.iter().zip(pointers).map(|(mark, pointer)| {
        let pointer = pointer?;
        let now = moved.get(&pointer.key).copied().unwrap_or(pointer.now);
        let target = mark.seq.min(pointer.bound);
        if target > now {
            moved.insert(pointer.key, target);
        }
        Some(MarkReadResponse { read_seq: now.max(target), moved: target > now })
    });
    let outcomes = outcomes.collect();
    if !moved.is_empty() {
        let moved = moved.into_iter().map(|((user, reference), seq)| [user, reference, seq.cast_signed()]);
        super::save::move_pointers(conn, moved).await?;
    }
    Ok(outcomes)
}
