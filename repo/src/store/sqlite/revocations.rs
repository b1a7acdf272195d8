//! Access tokens that end before their time, written together with what ended them.
use gochat_proto::repo::v1::revoke_refresh_tokens_request::Which;
use gochat_proto::repo::v1::{Revocation, RevokeRequest, UpdateUserRequest, UserDevice};
use sqlx::sqlite::{SqliteConnection, SqliteRow};

use super::SqliteStore;
use super::rows::{signed, small, text, unsigned};
use super::tokens::{RevokeTokens, latest_issue};
use super::users::{UpdateUser, known_users};
use super::writer::Change;
use crate::store::{Page, Result, refuse, unix_ms};

impl SqliteStore {
    /// The revocation and its cause, all or nothing; answers it as it was stored.
    ///
    /// # Errors
    /// 1001.
    pub(crate) async fn revoke(&self, request: RevokeRequest) -> Result<Revocation> {
        let bytes = 256 + prost::Message::encoded_len(&request);
        self.writer.change(Revoke { request }, bytes).await
    }

    /// Those that have not expired, by id.
    pub(crate) async fn revocations(&self, after: u64, now_ms: i64, limit: u32) -> Result<Page<Revocation>> {
        let rows = sqlx::query(PAGE)
            .bind(i64::try_from(after).unwrap_or(i64::MAX))
            .bind(now_ms)
            .bind(i64::from(limit) + 1)
            .fetch_all(&mut *self.readers.get().await?)
            .await
            .map_err(refuse::database)?;
        Ok(Page::cut(rows.iter().map(revocation).collect(), limit))
    }
}

/// By id: most of what is there has not expired, since the rest is purged.
pub(super) const PAGE: &str = "SELECT revocation_id, user_id, device_id, issued_until, reason, expires_at \
                               FROM revocations WHERE revocation_id > ? AND expires_at > ? \
                               ORDER BY revocation_id LIMIT ?";

fn revocation(row: &SqliteRow) -> Revocation {
    Revocation {
        revocation_id: unsigned(row, 0),
        user_id: unsigned(row, 1),
        device_id: text(row, 2),
        issued_until_ms: signed(row, 3),
        reason: small(row, 4),
        expires_at_ms: signed(row, 5),
    }
}

struct Revoke {
    request: RevokeRequest,
}

impl Change for Revoke {
    type Out = Revocation;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<Revocation> {
        let RevokeRequest { revocation, refresh_tokens, status, password_hash } = self.request.clone();
        let revocation = revocation.unwrap_or_default();
        let user_id = revocation.user_id;
        if known_users(conn, [user_id].into_iter()).await?.is_empty() {
            return Err(refuse::unknown_users(&[user_id]));
        }
        if status.is_some() || password_hash.is_some() {
            let request = UpdateUserRequest { user_id, status, password_hash, ..Default::default() };
            UpdateUser { request, now_ms: unix_ms() }.apply(conn).await?;
        }
        // Before the tokens go, which tell how far it must reach.
        let stored = insert(conn, revocation).await?;
        if refresh_tokens {
            let device_id = stored.device_id.clone();
            let which = match device_id.is_empty() {
                true => Which::UserId(user_id),
                false => Which::Device(UserDevice { user_id, device_id }),
            };
            RevokeTokens { which }.apply(conn).await?;
        }
        Ok(stored)
    }
}

/// Writes a revocation; answers it with its id and the moment until which it concerns tokens: that of this
/// transaction at least, since what it changes was in force until now, and that of the latest token that it ends, which
/// was issued later when the clock has gone back since. So much longer such a token lives by the clock as it is now.
pub(super) async fn insert(conn: &mut SqliteConnection, mut revocation: Revocation) -> Result<Revocation> {
    let now_ms = revocation.issued_until_ms.max(unix_ms());
    let latest_ms = latest_issue(conn, revocation.user_id, &revocation.device_id).await?;
    revocation.issued_until_ms = now_ms.max(latest_ms);
    let ahead_ms = revocation.issued_until_ms - now_ms;
    revocation.expires_at_ms = revocation.expires_at_ms.saturating_add(ahead_ms);
    let row = sqlx::query(
        "INSERT INTO revocations (user_id, device_id, issued_until, reason, expires_at) \
         VALUES (?, ?, ?, ?, ?) RETURNING revocation_id",
    )
    .bind(revocation.user_id.cast_signed())
    .bind(&revocation.device_id)
    .bind(revocation.issued_until_ms)
    .bind(revocation.reason)
    .bind(revocation.expires_at_ms)
    .fetch_one(conn)
    .await
    .map_err(refuse::database)?;
    revocation.revocation_id = unsigned(&row, 0);
    Ok(revocation)
}
