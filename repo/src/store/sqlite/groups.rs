//! Groups and who is in them. A membership change writes group_members, conversation_members and the group's
//! count and version in one transaction.
use std::collections::{BTreeSet, HashSet};

use gochat_proto::repo::v1::{
    AddGroupMemberRequest, AddGroupMemberResponse, ConversationType, Group, GroupMember, GroupRole,
    RemoveGroupMemberResponse,
};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::SqliteStore;
use super::rows::{json_numbers, optional, signed, small, text, unsigned};
use super::users::known_users;
use super::writer::Change;
use crate::store::{MemberSince, Page, Result, refuse};

impl SqliteStore {
    /// Makes a group with its conversation and its first members, the owner among them.
    ///
    /// # Errors
    /// 1001 unknown users, 1005 more members than it allows, 1017 the group id exists, 1018.
    pub(crate) async fn create_group(
        &self,
        group: Group,
        member_ids: &[u64],
        groups_per_user_max: u32,
    ) -> Result<Group> {
        let members: BTreeSet<u64> = member_ids.iter().copied().chain([group.owner_id]).collect();
        let bytes = 256 + 8 * members.len();
        self.writer.change(CreateGroup { group, members, groups_per_user_max }, bytes).await
    }

    pub(crate) async fn group(&self, group_id: u64) -> Result<Option<Group>> {
        let row = sqlx::query(GROUP)
            .bind(group_id.cast_signed())
            .fetch_optional(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        Ok(row.as_ref().map(group))
    }

    /// A group's version and number of members; None when there is no such group.
    pub(crate) async fn group_version(&self, group_id: u64) -> Result<Option<(u64, u64)>> {
        let row = sqlx::query("SELECT version, member_count FROM \"groups\" WHERE group_id = ?")
            .bind(group_id.cast_signed())
            .fetch_optional(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        Ok(row.map(|row| (unsigned(&row, 0), unsigned(&row, 1))))
    }

    /// Who is a member already stays as he is; who comes again sees what is said from now on.
    ///
    /// # Errors
    /// 1016, 1001 for any unknown user, 1005, 1018.
    pub(crate) async fn add_members(
        &self,
        request: &AddGroupMemberRequest,
        now_ms: i64,
        groups_per_user_max: u32,
    ) -> Result<AddGroupMemberResponse> {
        let users: BTreeSet<u64> = request.user_ids.iter().copied().collect();
        let bytes = 64 + 8 * users.len();
        let group_id = request.group_id;
        self.writer.change(AddMembers { group_id, users, now_ms, groups_per_user_max }, bytes).await
    }

    /// # Errors
    /// 1016.
    pub(crate) async fn remove_member(
        &self,
        group_id: u64,
        user_id: u64,
        now_ms: i64,
    ) -> Result<RemoveGroupMemberResponse> {
        self.writer.change(RemoveMember { group_id, user_id, now_ms }, 64).await
    }

    /// Members by user id, with their names.
    pub(crate) async fn members(&self, group_id: u64, after: u64, limit: u32) -> Result<Page<GroupMember>> {
        let rows = sqlx::query(MEMBERS_PAGE)
            .bind(group_id.cast_signed())
            .bind(after.cast_signed())
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        let member = |row| GroupMember {
            user_id: unsigned(row, 0),
            joined_seq: unsigned(row, 1),
            role: small(row, 2),
            joined_at_ms: signed(row, 3),
            username: text(row, 4),
            display_name: text(row, 5),
        };
        Ok(Page::cut(rows.iter().map(member).collect(), limit))
    }

    /// Members by user id, only what delivering needs.
    pub(crate) async fn members_since(
        &self,
        group_id: u64,
        after: u64,
        limit: u32,
    ) -> Result<Page<MemberSince>> {
        let rows = sqlx::query(MEMBERS_SINCE_PAGE)
            .bind(group_id.cast_signed())
            .bind(after.cast_signed())
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        let member = |row| MemberSince { user_id: unsigned(row, 0), joined_seq: unsigned(row, 1) };
        Ok(Page::cut(rows.iter().map(member).collect(), limit))
    }

    /// Which of these users are members, and the version at which that was read: one statement, so one
    /// moment. None when there is no such group.
    pub(crate) async fn check_members(
        &self,
        group_id: u64,
        user_ids: &[u64],
    ) -> Result<Option<(Vec<u64>, u64)>> {
        let rows = sqlx::query(
            "SELECT g.version, m.user_id FROM \"groups\" AS g LEFT JOIN group_members AS m \
             ON m.group_id = g.group_id AND m.user_id IN (SELECT value FROM json_each(?)) \
             WHERE g.group_id = ?",
        )
        .bind(json_numbers(user_ids))
        .bind(group_id.cast_signed())
        .fetch_all(&mut *self.readers.get().await?)
        .await
        .map_err(refuse::database)?;
        let Some(first) = rows.first() else { return Ok(None) };
        let members = rows.iter().filter_map(|row| optional(row, 1)).collect();
        Ok(Some((members, unsigned(first, 0))))
    }
}

/// Where pages of members come from: the conversation once, then the members in the order of their table.
macro_rules! members_page {
    ($columns:literal, $join:literal) => {
        concat!(
            "SELECT g.user_id, m.joined_seq",
            $columns,
            " FROM conversations AS c CROSS JOIN group_members AS g \
             CROSS JOIN conversation_members AS m \
             ON m.user_id = g.user_id AND m.conversation_ref = c.conversation_ref",
            $join,
            " WHERE c.conversation_id = 'group_' || ?1 AND g.group_id = ?1 AND g.user_id > ?2 \
             ORDER BY g.user_id LIMIT ?3"
        )
    };
}

pub(super) const MEMBERS_PAGE: &str = members_page!(
    ", g.role, g.joined_at, u.username, u.display_name",
    " CROSS JOIN users AS u ON u.user_id = g.user_id"
);
pub(super) const MEMBERS_SINCE_PAGE: &str = members_page!("", "");

const GROUP: &str = "SELECT group_id, group_name, description, owner_id, member_count, max_members, \
                     group_type, version, created_at FROM \"groups\" WHERE group_id = ?";

fn group(row: &SqliteRow) -> Group {
    Group {
        group_id: unsigned(row, 0),
        group_name: text(row, 1),
        description: text(row, 2),
        owner_id: unsigned(row, 3),
        member_count: small(row, 4),
        max_members: small(row, 5),
        group_type: small(row, 6),
        version: unsigned(row, 7),
        created_at_ms: signed(row, 8),
    }
}

async fn require_group(conn: &mut SqliteConnection, group_id: u64) -> Result<Group> {
    let row = sqlx::query(GROUP)
        .bind(group_id.cast_signed())
        .fetch_optional(conn)
        .await
        .map_err(refuse::database)?;
    row.as_ref().map(group).ok_or_else(refuse::unknown_group)
}

async fn require_users(conn: &mut SqliteConnection, users: &BTreeSet<u64>) -> Result<()> {
    let known = known_users(conn, users.iter().copied()).await?;
    let unknown: Vec<u64> = users.iter().copied().filter(|user| !known.contains(user)).collect();
    if unknown.is_empty() { Ok(()) } else { Err(refuse::unknown_users(&unknown)) }
}

struct CreateGroup {
    group: Group,
    members: BTreeSet<u64>,
    groups_per_user_max: u32,
}

impl Change for CreateGroup {
    type Out = Group;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Group> {
        let mut group = self.group.clone();
        group.member_count = u32::try_from(self.members.len()).unwrap_or(u32::MAX);
        group.version = 1;
        if group.member_count > group.max_members {
            return Err(refuse::group_full(group.max_members));
        }
        require_users(conn, &self.members).await?;
        match require_group(conn, group.group_id).await {
            Ok(_) => return Err(refuse::stale("the group id exists already: draw a new one")),
            Err(error) if error.code == gochat_infra::errors::Code::GroupNotFound => {}
            Err(error) => return Err(error),
        }
        insert_group(conn, &group).await?;
        let members: Vec<u64> = self.members.iter().copied().collect();
        join(conn, &group, &members, group.created_at_ms, self.groups_per_user_max).await?;
        Ok(group)
    }
}

async fn insert_group(conn: &mut SqliteConnection, group: &Group) -> Result<()> {
    let id = group.group_id.cast_signed();
    sqlx::query(
        "INSERT INTO \"groups\" (group_id, group_name, description, owner_id, member_count, max_members, \
         group_type, version, created_at, updated_at) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?9)",
    )
    .bind(id)
    .bind(&group.group_name)
    .bind(&group.description)
    .bind(group.owner_id.cast_signed())
    .bind(group.member_count)
    .bind(group.max_members)
    .bind(group.group_type)
    .bind(group.version.cast_signed())
    .bind(group.created_at_ms)
    .execute(&mut *conn)
    .await
    .map_err(refuse::database)?;
    sqlx::query(
        "INSERT INTO conversations (conversation_id, type, group_id, last_seq, created_at, updated_at) \
         VALUES ('group_' || ?1, ?2, ?1, 0, ?3, ?3)",
    )
    .bind(id)
    .bind(ConversationType::Group as i32)
    .bind(group.created_at_ms)
    .execute(conn)
    .await
    .map_err(refuse::database)?;
    Ok(())
}

/// Counts one more group for each of these users.
///
/// # Errors
/// 1018 when that is too many for any of them.
async fn count_group(conn: &mut SqliteConnection, users: &str, groups_per_user_max: u32) -> Result<()> {
    let full = sqlx::query(
        "SELECT u.user_id FROM json_each(?) AS j CROSS JOIN users AS u ON u.user_id = j.value \
         WHERE u.group_count >= ? LIMIT 20",
    )
    .bind(users)
    .bind(groups_per_user_max)
    .fetch_all(&mut *conn)
    .await
    .map_err(refuse::database)?;
    if !full.is_empty() {
        let full: Vec<u64> = full.iter().map(|row| unsigned(row, 0)).collect();
        return Err(refuse::too_many_groups(&full, groups_per_user_max));
    }
    let count = "UPDATE users SET group_count = group_count + 1 \
                 WHERE user_id IN (SELECT value FROM json_each(?))";
    sqlx::query(count).bind(users).execute(conn).await.map_err(refuse::database)?;
    Ok(())
}

/// Writes new members, who see what is said from now on; the caller has checked that they exist and are not
/// members.
///
/// # Errors
/// 1018.
async fn join(
    conn: &mut SqliteConnection,
    group: &Group,
    users: &[u64],
    at_ms: i64,
    groups_per_user_max: u32,
) -> Result<()> {
    let list = json_numbers(users);
    count_group(conn, &list, groups_per_user_max).await?;
    sqlx::query(
        "INSERT INTO group_members (group_id, user_id, role, joined_at) \
         SELECT ?1, value, CASE value WHEN ?2 THEN ?3 ELSE ?4 END, ?5 FROM json_each(?6)",
    )
    .bind(group.group_id.cast_signed())
    .bind(group.owner_id.cast_signed())
    .bind(GroupRole::Owner as i32)
    .bind(GroupRole::Member as i32)
    .bind(at_ms)
    .bind(&list)
    .execute(&mut *conn)
    .await
    .map_err(refuse::database)?;
    // Who was a member before has a row: what was said while he was away stays hidden. (The WHERE is for
    // SQLite's parser, which else takes ON for a join's.)
    sqlx::query(
        "INSERT INTO conversation_members (user_id, conversation_ref, joined_seq, read_seq, joined_at) \
         SELECT j.value, c.conversation_ref, c.last_seq, c.last_seq, ?1 FROM json_each(?2) AS j \
         CROSS JOIN conversations AS c WHERE c.conversation_id = 'group_' || ?3 \
         ON CONFLICT (user_id, conversation_ref) DO UPDATE SET joined_seq = excluded.joined_seq, \
         read_seq = excluded.read_seq, joined_at = excluded.joined_at, left_seq = NULL, left_at = NULL",
    )
    .bind(at_ms)
    .bind(&list)
    .bind(group.group_id.cast_signed())
    .execute(conn)
    .await
    .map_err(refuse::database)?;
    Ok(())
}

/// Counts the members anew by this difference and raises the version; answers it.
async fn count_and_raise(
    conn: &mut SqliteConnection,
    group_id: u64,
    difference: i64,
    at_ms: i64,
) -> Result<u64> {
    let row = sqlx::query(
        "UPDATE \"groups\" SET member_count = member_count + ?, version = version + 1, updated_at = ? \
         WHERE group_id = ? RETURNING version",
    )
    .bind(difference)
    .bind(at_ms)
    .bind(group_id.cast_signed())
    .fetch_one(conn)
    .await
    .map_err(refuse::database)?;
    Ok(unsigned(&row, 0))
}

struct AddMembers {
    group_id: u64,
    users: BTreeSet<u64>,
    now_ms: i64,
    groups_per_user_max: u32,
}

impl Change for AddMembers {
    type Out = AddGroupMemberResponse;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<AddGroupMemberResponse> {
        let group = require_group(conn, self.group_id).await?;
        require_users(conn, &self.users).await?;
        let there: HashSet<u64> = sqlx::query(
            "SELECT m.user_id FROM json_each(?) AS j \
             CROSS JOIN group_members AS m ON m.group_id = ? AND m.user_id = j.value",
        )
        .bind(json_numbers(&self.users))
        .bind(self.group_id.cast_signed())
        .fetch_all(&mut *conn)
        .await
        .map_err(refuse::database)?
        .iter()
        .map(|row| unsigned(row, 0))
        .collect();
        let new: Vec<u64> = self.users.iter().copied().filter(|user| !there.contains(user)).collect();
        if new.is_empty() {
            return Ok(AddGroupMemberResponse { added_user_ids: new, version: group.version });
        }
        if new.len() > group.max_members.saturating_sub(group.member_count) as usize {
            return Err(refuse::group_full(group.max_members));
        }
        join(conn, &group, &new, self.now_ms, self.groups_per_user_max).await?;
        let version = count_and_raise(conn, self.group_id, new.len() as i64, self.now_ms).await?;
        Ok(AddGroupMemberResponse { added_user_ids: new, version })
    }
}

struct RemoveMember {
    group_id: u64,
    user_id: u64,
    now_ms: i64,
}

impl Change for RemoveMember {
    type Out = RemoveGroupMemberResponse;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<RemoveGroupMemberResponse> {
        let group = require_group(conn, self.group_id).await?;
        let (group_id, user_id) = (self.group_id.cast_signed(), self.user_id.cast_signed());
        let removed = sqlx::query("DELETE FROM group_members WHERE group_id = ? AND user_id = ?")
            .bind(group_id)
            .bind(user_id)
            .execute(&mut *conn)
            .await
            .map_err(refuse::database)?;
        if removed.rows_affected() == 0 {
            return Ok(RemoveGroupMemberResponse { removed: false, version: group.version });
        }
        sqlx::query(
            "UPDATE conversation_members SET left_seq = c.last_seq, left_at = ? FROM conversations AS c \
             WHERE c.conversation_id = 'group_' || ? AND user_id = ? \
             AND conversation_members.conversation_ref = c.conversation_ref",
        )
        .bind(self.now_ms)
        .bind(group_id)
        .bind(user_id)
        .execute(&mut *conn)
        .await
        .map_err(refuse::database)?;
        let uncount = sqlx::query("UPDATE users SET group_count = group_count - 1 WHERE user_id = ?");
        uncount.bind(user_id).execute(&mut *conn).await.map_err(refuse::database)?;
        if group.owner_id == self.user_id {
            hand_over(conn, group_id).await?;
        }
        let version = count_and_raise(conn, self.group_id, -1, self.now_ms).await?;
        Ok(RemoveGroupMemberResponse { removed: true, version })
    }
}

/// A group whose owner goes belongs to who joined first; an empty one keeps its last owner's name.
async fn hand_over(conn: &mut SqliteConnection, group_id: i64) -> Result<()> {
    let heir = sqlx::query(
        "UPDATE group_members SET role = ?1 WHERE group_id = ?2 AND user_id = \
         (SELECT user_id FROM group_members WHERE group_id = ?2 ORDER BY joined_at, user_id LIMIT 1) \
         RETURNING user_id",
    )
    .bind(GroupRole::Owner as i32)
    .bind(group_id)
    .fetch_optional(&mut *conn)
    .await
    .map_err(refuse::database)?;
    let Some(heir) = heir else { return Ok(()) };
    sqlx::query("UPDATE \"groups\" SET owner_id = ? WHERE group_id = ?")
        .bind(signed(&heir, 0))
        .bind(group_id)
        .execute(conn)
        .await
        .map_err(refuse::database)?;
    Ok(())
}
