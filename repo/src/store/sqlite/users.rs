//! Users: one row each, names and e-mail addresses unique whatever their case.
use std::collections::HashSet;

use gochat_infra::errors::{Code, Error};
use gochat_proto::repo::v1::{UpdateUserRequest, User};
use serde_json::json;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::rows::{AddAll as _, insert_all, json_numbers, json_texts, text, unsigned, user, user_columns};
use super::writer::Change;
use crate::store::{Result, VersionedUser, refuse};

/// The reference of world, which the first migration made.
const WORLD_REF: i64 = 1;

impl SqliteStore {
    /// All or nothing. Each user joins world at its head.
    ///
    /// # Errors
    /// 1007 and 1008 for a name or an address that is taken, 1017 for an id that is.
    pub(crate) async fn create_users(&self, users: Vec<User>) -> Result<()> {
        let bytes = users.iter().map(prost::Message::encoded_len).sum();
        self.writer.change(CreateUsers { users }, bytes).await
    }

    /// The users of these ids that exist, in no order.
    pub(crate) async fn users(&self, ids: &[u64]) -> Result<Vec<VersionedUser>> {
        let sql = concat!(
            "SELECT ",
            user_columns!(),
            " FROM json_each(?) AS j CROSS JOIN users ON user_id = j.value"
        );
        let rows = sqlx::query(sql).bind(json_numbers(ids)).fetch_all(&mut *self.readers.get().await?).await;
        Ok(rows.map_err(refuse::database)?.iter().map(user).collect())
    }

    /// Which version each of these users has, to compare with a copy.
    pub(crate) async fn user_versions(&self, ids: &[u64]) -> Result<Vec<(u64, u64)>> {
        let sql = "SELECT user_id, version FROM json_each(?) AS j CROSS JOIN users ON user_id = j.value";
        let rows = sqlx::query(sql).bind(json_numbers(ids)).fetch_all(&mut *self.readers.get().await?).await;
        Ok(rows.map_err(refuse::database)?.iter().map(|row| (unsigned(row, 0), unsigned(row, 1))).collect())
    }

    pub(crate) async fn user_by_name(&self, username: &str) -> Result<Option<VersionedUser>> {
        let sql = concat!("SELECT ", user_columns!(), " FROM users WHERE username_key = ?");
        let row = sqlx::query(sql).bind(fold(username)).fetch_optional(&mut *self.readers.get().await?).await;
        Ok(row.map_err(refuse::database)?.as_ref().map(user))
    }

    /// # Errors
    /// 1001, and 1008 for an address that is taken.
    pub(crate) async fn update_user(&self, request: UpdateUserRequest, now_ms: i64) -> Result<()> {
        let bytes = prost::Message::encoded_len(&request);
        self.writer.change(UpdateUser { request, now_ms }, bytes).await
    }
}

/// The form in which names and addresses are compared.
fn fold(text: &str) -> String {
    text.to_lowercase()
}

struct CreateUsers {
    users: Vec<User>,
}

impl Change for CreateUsers {
    type Out = ();

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<()> {
        self.refuse_taken(conn, "username_key", |user| &user.username, Code::UsernameTaken).await?;
        self.refuse_taken(conn, "email_key", |user| &user.email, Code::EmailTaken).await?;
        let ids = self.users.iter().map(|user| user.user_id);
        if !known_users(conn, ids.clone()).await?.is_empty() {
            return Err(refuse::stale("a user id exists already: draw a new one"));
        }
        let insert = "INSERT INTO users (user_id, status, created_at, updated_at, username, username_key, \
                      email, email_key, password_hash, display_name, avatar_url)";
        insert_all(conn, insert, 11, &self.users, |user, arguments| {
            let id = user.user_id.cast_signed();
            arguments.add_all([id, user.status.into(), user.created_at_ms, user.updated_at_ms])?;
            arguments.add_all([&user.username, &fold(&user.username), &user.email, &fold(&user.email)])?;
            arguments.add_all([&user.password_hash, &user.display_name, &user.avatar_url])
        })
        .await?;
        sqlx::query(
            "INSERT INTO conversation_members \
             (user_id, conversation_ref, joined_seq, read_seq, joined_at) \
             SELECT u.user_id, c.conversation_ref, c.last_seq, c.last_seq, u.created_at \
             FROM json_each(?) AS j CROSS JOIN users AS u ON u.user_id = j.value \
             CROSS JOIN conversations AS c ON c.conversation_ref = ?",
        )
        .bind(json_numbers(ids))
        .bind(WORLD_REF)
        .execute(conn)
        .await
        .map_err(refuse::database)?;
        Ok(())
    }
}

impl CreateUsers {
    async fn refuse_taken(
        &self,
        conn: &mut SqliteConnection,
        column: &'static str,
        value: fn(&User) -> &String,
        code: Code,
    ) -> Result<()> {
        let keys: Vec<String> = self.users.iter().map(|user| fold(value(user))).collect();
        let mut seen = HashSet::with_capacity(keys.len());
        if let Some(twice) = keys.iter().find(|key| !seen.insert(*key)) {
            return Err(taken(code, twice));
        }
        // `column` is one of two constants of this file.
        let sql =
            format!("SELECT {column} FROM json_each(?) AS j CROSS JOIN users ON {column} = j.value LIMIT 1");
        let found = sqlx::query(sqlx::AssertSqlSafe(sql))
            .bind(json_texts(keys.iter().map(String::as_str)))
            .fetch_optional(conn)
            .await
            .map_err(refuse::database)?;
        found.map_or(Ok(()), |row| Err(taken(code, &text(&row, 0))))
    }
}

fn taken(code: Code, value: &str) -> Error {
    let what = if code == Code::UsernameTaken { "user name" } else { "e-mail address" };
    Error::new(code, format!("the {what} is taken")).details(json!({ "value": value }))
}

/// Which of these users exist.
pub(super) async fn known_users(
    conn: &mut SqliteConnection,
    ids: impl Iterator<Item = u64>,
) -> Result<HashSet<u64>> {
    let sql = "SELECT u.user_id FROM json_each(?) AS j CROSS JOIN users AS u ON u.user_id = j.value";
    let rows = sqlx::query(sql).bind(json_numbers(ids)).fetch_all(conn).await;
    Ok(rows.map_err(refuse::database)?.iter().map(|row| unsigned(row, 0)).collect())
}

pub(super) struct UpdateUser {
    pub(super) request: UpdateUserRequest,
    pub(super) now_ms: i64,
}

impl Change for UpdateUser {
    type Out = ();

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<()> {
        let request = &self.request;
        let id = request.user_id.cast_signed();
        let email_key = request.email.as_deref().map(fold);
        if let Some(key) = &email_key {
            let other = sqlx::query("SELECT 1 FROM users WHERE email_key = ? AND user_id <> ?")
                .bind(key)
                .bind(id)
                .fetch_optional(&mut *conn)
                .await
                .map_err(refuse::database)?;
            if other.is_some() {
                return Err(taken(Code::EmailTaken, key));
            }
        }
        let updated = sqlx::query(
            "UPDATE users SET display_name = coalesce(?, display_name), avatar_url = coalesce(?, avatar_url), \
             email = coalesce(?, email), email_key = coalesce(?, email_key), \
             password_hash = coalesce(?, password_hash), status = coalesce(?, status), \
             version = version + 1, updated_at = ? WHERE user_id = ?",
        )
        .bind(request.display_name.as_deref())
        .bind(request.avatar_url.as_deref())
        .bind(request.email.as_deref())
        .bind(email_key)
        .bind(request.password_hash.as_deref())
        .bind(request.status)
        .bind(self.now_ms)
        .bind(id)
        .execute(conn)
        .await
        .map_err(refuse::database)?;
        match updated.rows_affected() {
            0 => Err(refuse::unknown_users(&[request.user_id])),
            _ => Ok(()),
        }
    }
}
