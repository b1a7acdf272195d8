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
use crate::store::{Result, refuse};

/// What a token takes in the queue, roughly.
const TOKEN_BYTES: usize = 256;

impl SqliteStore {
    /// # Errors
    /// 1017 when the token exists.
    pub(crate) async fn create_token(&self, token: RefreshToken, now_ms: i64) -> Result<()> {
        self.writer.change(CreateToken { token, now_ms }, TOKEN_BYTES).await
    }

    pub(crate) async fn rotate_token(
        &self,
        request: RotateRefreshTokenRequest,
    ) -> Result<RotateRefreshTokenResponse> {
        self.writer.change(RotateToken { request }, TOKEN_BYTES).await
    }

    /// Ends families; answers how many tokens that took away.
    pub(crate) async fn revoke_tokens(&self, which: Which) -> Result<u64> {
        self.writer.change(RevokeTokens { which }, TOKEN_BYTES).await
    }

    /// Deletes tokens that expired before a moment, `limit` at most; answers how many.
    pub(crate) async fn purge_tokens(&self, expired_before_ms: i64, limit: u32) -> Result<u64> {
        self.writer.change(PurgeTokens { expired_before_ms, limit }, TOKEN_BYTES).await
    }
}

struct CreateToken {
    token: RefreshToken,
    now_ms: i64,
}

impl Change for CreateToken {
    type Out = ();

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<()> {
        match stored(conn, &self.token.token_hash).await? {
            Some(_) => Err(refuse::stale("the refresh token exists already: draw a new one")),
            None => insert(conn, &self.token, self.now_ms).await,
        }
    }
}

async fn insert(conn: &mut SqliteConnection, token: &RefreshToken, now_ms: i64) -> Result<()> {
    sqlx::query(
        "INSERT INTO refresh_tokens (token_hash, family_id, user_id, device_id, created_at, expires_at) \
         VALUES (?, ?, ?, ?, ?, ?)",
    )
    .bind(&token.token_hash)
    .bind(token.family_id.cast_signed())
    .bind(token.user_id.cast_signed())
    .bind(&token.device_id)
    .bind(now_ms)
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
        let answer = |outcome: Outcome| RotateRefreshTokenResponse {
            outcome: outcome.into(),
            user_id: found.token.user_id,
            device_id: found.token.device_id.clone(),
            family_id: found.token.family_id,
            revocation: None,
        };
        let Some((successor, rotated_at_ms)) = &found.rotated else {
            self.rotate(conn, &found.token).await?;
            return Ok(answer(Outcome::Rotated));
        };
        let in_grace = request.now_ms <= rotated_at_ms.saturating_add(request.grace_ms);
        let successor_unused =
            stored(conn, successor).await?.is_some_and(|successor| successor.rotated.is_none());
        if !(in_grace && successor_unused) {
            delete_family(conn, found.token.family_id).await?;
            let revocation = self.revoke_access(conn, &found.token).await?;
            return Ok(RotateRefreshTokenResponse { revocation, ..answer(Outcome::Reused) });
        }
        // The caller's key was changed in between, so he derives another successor than the one stored. That
        // is nobody's theft: the token is only of no use any more.
        let same = *successor == request.successor_hash;
        Ok(if same { answer(Outcome::Rotated) } else { invalid() })
    }
}

fn invalid() -> RotateRefreshTokenResponse {
    RotateRefreshTokenResponse { outcome: Outcome::Invalid.into(), ..Default::default() }
}

impl RotateToken {
    async fn rotate(&self, conn: &mut SqliteConnection, old: &RefreshToken) -> Result<()> {
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
        insert(conn, &successor, request.now_ms).await
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

pub(super) const PURGE: &str = "DELETE FROM refresh_tokens WHERE token_hash IN \
                                (SELECT token_hash FROM refresh_tokens WHERE expires_at < ? \
                                ORDER BY expires_at LIMIT ?)";

struct PurgeTokens {
    expired_before_ms: i64,
    limit: u32,
}

impl Change for PurgeTokens {
    type Out = u64;

    async fn apply(&self, conn: &mut SqliteConnection) -> Result<u64> {
        let deleted = sqlx::query(PURGE)
            .bind(self.expired_before_ms)
            .bind(self.limit)
            .execute(conn)
            .await
            .map_err(refuse::database)?;
        Ok(deleted.rows_affected())
    }
}
