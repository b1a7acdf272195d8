//! Refresh tokens: families that descend from one login, rotated with a grace and ended on reuse.
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::repo::v1::revoke_refresh_tokens_request::Which;
use gochat_proto::repo::v1::rotate_refresh_token_response::Outcome;
use gochat_proto::repo::v1::{
    RefreshToken, Revocation, RotateRefreshTokenRequest, RotateRefreshTokenResponse,
};
use sqlx::Row as _;
use sqlx::sqlite::SqliteConnection;

use super::SqliteStore;
use super::rows::{signed, text, unsigned};
use super::writer::Change;
use crate::store::{Result, refuse, unix_ms};

/// What a token takes in the queue, roughly.
const TOKEN_BYTES: usize = 256;

impl SqliteStore {
    /// Answers when its access token counts as issued.
    ///
    /// # Errors
    /// 1017 when the token exists.
    pub(crate) async fn create_token(&self, token: RefreshToken) -> Result<i64> {
        self.writer.change(CreateToken { token }, TOKEN_BYTES).await
    }

    pub(crate) async fn rotate_token(
        &self,
        request: RotateRefreshTokenRequest,
    ) -> Result<RotateRefreshTokenResponse> {
        // Anybody may send made-up tokens, as many as he likes: they must not reach the one writer.
        match self.known_token(&request.token_hash).await? {
            Some(found) if found.token.expires_at_ms > request.now_ms => {
                self.writer.change(RotateToken { request }, TOKEN_BYTES).await
            }
            _ => Ok(invalid()),
        }
    }

    /// Ends families; answers how many tokens that took away.
    pub(crate) async fn revoke_tokens(&self, which: Which) -> Result<u64> {
        if let Which::TokenHash(hash) = &which
            && self.known_token(hash).await?.is_none()
        {
            return Ok(0);
        }
        self.writer.change(RevokeTokens { which }, TOKEN_BYTES).await
    }

    /// A token as a reader sees it: every one that was given out is there, since its commit came first.
    async fn known_token(&self, token_hash: &[u8]) -> Result<Option<Stored>> {
        let mut reader = self.readers.get().await?;
        stored(&mut reader, token_hash).await
    }
}

struct CreateToken {
    token: RefreshToken,
}

impl Change for CreateToken {
    type Out = i64;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<i64> {
        if stored(conn, &self.token.token_hash).await?.is_some() {
            return Err(refuse::stale("the refresh token exists already: draw a new one"));
        }
        let issued_at_ms = next_issue(conn, &self.token, unix_ms()).await?;
        insert(conn, &self.token, issued_at_ms).await?;
        Ok(issued_at_ms)
    }
}

pub(super) const LATEST_OF_DEVICE: &str =
    "SELECT max(created_at) FROM refresh_tokens WHERE user_id = ? AND device_id = ?";
/// Walks over all of them: a ban or a new password, which then deletes them.
pub(super) const LATEST_OF_USER: &str = "SELECT max(created_at) FROM refresh_tokens WHERE user_id = ?";
pub(super) const AFTER_REVOCATIONS: &str =
    "SELECT max(issued_until) + 1 FROM revocations WHERE user_id = ? AND device_id IN ('', ?)";

/// The latest moment at which a token of this device (of any, when it is empty) counts as issued; 0 without one.
pub(super) async fn latest_issue(conn: &mut SqliteConnection, user_id: u64, device_id: &str) -> Result<i64> {
    let row = match device_id.is_empty() {
        true => sqlx::query(LATEST_OF_USER).bind(user_id.cast_signed()).fetch_one(conn).await,
        false => {
            sqlx::query(LATEST_OF_DEVICE).bind(user_id.cast_signed()).bind(device_id).fetch_one(conn).await
        }
    };
    Ok(row.map_err(refuse::database)?.get::<Option<i64>, _>(0).unwrap_or(0))
}

/// When a token that is given out at `now_ms` counts as issued. The clock may have gone back since a revocation or
/// since the device's last token: a token must not be born revoked, nor seem older than the one it replaces.
async fn next_issue(conn: &mut SqliteConnection, token: &RefreshToken, now_ms: i64) -> Result<i64> {
    let latest_ms = latest_issue(conn, token.user_id, &token.device_id).await?;
    let row = sqlx::query(AFTER_REVOCATIONS)
        .bind(token.user_id.cast_signed())
        .bind(&token.device_id)
        .fetch_one(conn)
        .await
        .map_err(refuse::database)?;
    let after_ms = row.get::<Option<i64>, _>(0).unwrap_or(0);
    Ok(now_ms.max(latest_ms).max(after_ms))
}

async fn insert(conn: &mut SqliteConnection, token: &RefreshToken, issued_at_ms: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO refresh_tokens (token_hash, family_id, user_id, device_id, created_at, expires_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&token.token_hash)
    .bind(token.family_id.cast_signed())
    .bind(token.user_id.cast_signed())
    .bind(&token.device_id)
    .bind(issued_at_ms)
    .bind(token.expires_at_ms)
    .execute(conn)
    .await
    .map_err(refuse::database)?;
    Ok(())
}

struct Stored {
    token: RefreshToken,
    /// The successor's hash and when it was made.
    rotated: Option<(Vec<u8>, i64)>,
}

async fn stored(conn: &mut SqliteConnection, token_hash: &[u8]) -> Result<Option<Stored>> {
    let row = sqlx::query(
        "SELECT family_id, user_id, device_id, expires_at, successor_hash, rotated_at FROM refresh_tokens \
         WHERE token_hash = ?",
    )
    .bind(token_hash)
    .fetch_optional(conn)
    .await
    .map_err(refuse::database)?;
    Ok(row.map(|row| Stored {
        token: RefreshToken {
            token_hash: token_hash.to_vec(),
            family_id: unsigned(&row, 0),
            user_id: unsigned(&row, 1),
            device_id: text(&row, 2),
            expires_at_ms: signed(&row, 3),
        },
        rotated: row.get::<Option<Vec<u8>>, _>(4).zip(row.get::<Option<i64>, _>(5)),
    }))
}

struct RotateToken {
    request: RotateRefreshTokenRequest,
}

impl Change for RotateToken {
    type Out = RotateRefreshTokenResponse;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<RotateRefreshTokenResponse> {
        let request = &self.request;
        let Some(found) = stored(conn, &request.token_hash).await? else { return Ok(invalid()) };
        if found.token.expires_at_ms <= request.now_ms {
            return Ok(invalid());
        }
        let answer = |outcome: Outcome, issued_at_ms: i64| RotateRefreshTokenResponse {
            outcome: outcome.into(),
            user_id: found.token.user_id,
            device_id: found.token.device_id.clone(),
            family_id: found.token.family_id,
            revocation: None,
            issued_at_ms,
        };
        let Some((successor, rotated_at_ms)) = &found.rotated else {
            let issued_at_ms = next_issue(conn, &found.token, unix_ms()).await?;
            self.rotate(conn, &found.token, issued_at_ms).await?;
            return Ok(answer(Outcome::Rotated, issued_at_ms));
        };
        let in_grace = request.now_ms <= rotated_at_ms.saturating_add(request.grace_ms);
        let successor_unused =
            stored(conn, successor).await?.is_some_and(|successor| successor.rotated.is_none());
        if !(in_grace && successor_unused) {
            // Before the family goes, which tells how far the revocation must reach.
            let revocation = self.revoke_access(conn, &found.token).await?;
            delete_family(conn, found.token.family_id).await?;
            return Ok(RotateRefreshTokenResponse { revocation, ..answer(Outcome::Reused, 0) });
        }
        // The caller's key was changed in between, so he derives another successor than the one stored. That
        // is nobody's theft: the token is only of no use any more.
        if *successor != request.successor_hash {
            return Ok(invalid());
        }
        let issued_at_ms = next_issue(conn, &found.token, 0).await?;
        sqlx::query("UPDATE refresh_tokens SET created_at = ?2 WHERE token_hash = ?1 AND created_at < ?2")
            .bind(successor)
            .bind(issued_at_ms)
            .execute(conn)
            .await
            .map_err(refuse::database)?;
        Ok(answer(Outcome::Rotated, issued_at_ms))
    }
}

fn invalid() -> RotateRefreshTokenResponse {
    RotateRefreshTokenResponse { outcome: Outcome::Invalid.into(), ..Default::default() }
}

impl RotateToken {
    async fn rotate(&self, conn: &mut SqliteConnection, old: &RefreshToken, issued_at_ms: i64) -> Result<()> {
        let request = &self.request;
        sqlx::query("UPDATE refresh_tokens SET successor_hash = ?, rotated_at = ? WHERE token_hash = ?")
            .bind(&request.successor_hash)
            .bind(request.now_ms)
            .bind(&old.token_hash)
            .execute(&mut *conn)
            .await
            .map_err(refuse::database)?;
        let successor = RefreshToken {
            token_hash: request.successor_hash.clone(),
            expires_at_ms: request.successor_expires_at_ms,
            ..old.clone()
        };
        insert(conn, &successor, issued_at_ms).await
    }

    /// With the family end the access tokens of its device, if the caller says how long that is to be known.
    async fn revoke_access(
        &self,
        conn: &mut SqliteConnection,
        of: &RefreshToken,
    ) -> Result<Option<Revocation>> {
        let Some(expires_at_ms) = self.request.revocation_expires_at_ms else { return Ok(None) };
        let revocation = Revocation {
            revocation_id: 0,
            user_id: of.user_id,
            device_id: of.device_id.clone(),
            issued_until_ms: self.request.now_ms,
            reason: RevokeReason::TokenReused.into(),
            expires_at_ms,
        };
        super::revocations::insert(conn, revocation).await.map(Some)
    }
}

/// A revoked token answers like an unknown one, so its row need not stay.
async fn delete_family(conn: &mut SqliteConnection, family_id: u64) -> Result<u64> {
    let deleted = sqlx::query("DELETE FROM refresh_tokens WHERE family_id = ?")
        .bind(family_id.cast_signed())
        .execute(conn)
        .await
        .map_err(refuse::database)?;
    Ok(deleted.rows_affected())
}

pub(super) struct RevokeTokens {
    pub(super) which: Which,
}

impl Change for RevokeTokens {
    type Out = u64;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<u64> {
        let delete = match &self.which {
            Which::TokenHash(hash) => {
                return match stored(conn, hash).await? {
                    Some(found) => delete_family(conn, found.token.family_id).await,
                    None => Ok(0),
                };
            }
            Which::UserId(user) => {
                sqlx::query("DELETE FROM refresh_tokens WHERE user_id = ?").bind(user.cast_signed())
            }
            Which::Device(device) => {
                sqlx::query("DELETE FROM refresh_tokens WHERE user_id = ? AND device_id = ?")
                    .bind(device.user_id.cast_signed())
                    .bind(&device.device_id)
            }
        };
        let deleted = delete.execute(conn).await.map_err(refuse::database)?;
        Ok(deleted.rows_affected())
    }
}
