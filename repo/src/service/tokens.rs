//! Refresh tokens: straight to the store, since every answer must be the newest.
use gochat_proto::repo::v1::{
    CreateRefreshTokenRequest, CreateRefreshTokenResponse, PurgeRefreshTokensRequest,
    PurgeRefreshTokensResponse, RevokeRefreshTokensRequest, RevokeRefreshTokensResponse,
    RotateRefreshTokenRequest, RotateRefreshTokenResponse,
};

use super::Service;
use crate::store::{Result, refuse};

/// Bytes of a SHA-256.
const HASH_BYTES: usize = 32;

impl Service {
    pub(crate) async fn create_refresh_token(
        &self,
        request: CreateRefreshTokenRequest,
    ) -> Result<CreateRefreshTokenResponse> {
        let token = request.token.unwrap_or_default();
        check_hash(&token.token_hash)?;
        refuse::id(token.user_id, "a user id")?;
        refuse::id(token.family_id, "a family id")?;
        Ok(CreateRefreshTokenResponse { issued_at_ms: self.store.create_token(token).await? })
    }

    pub(crate) async fn rotate_refresh_token(
        &self,
        request: RotateRefreshTokenRequest,
    ) -> Result<RotateRefreshTokenResponse> {
        check_hash(&request.token_hash)?;
        check_hash(&request.successor_hash)?;
        if request.token_hash == request.successor_hash {
            return Err(refuse::invalid("a token can't succeed itself"));
        }
        self.store.rotate_token(request).await
    }

    pub(crate) async fn revoke_refresh_tokens(
        &self,
        request: RevokeRefreshTokensRequest,
    ) -> Result<RevokeRefreshTokensResponse> {
        let which = request.which.ok_or_else(|| refuse::invalid("which tokens are to be revoked?"))?;
        Ok(RevokeRefreshTokensResponse { revoked: self.store.revoke_tokens(which).await? })
    }

    pub(crate) async fn purge_refresh_tokens(
        &self,
        request: PurgeRefreshTokensRequest,
    ) -> Result<PurgeRefreshTokensResponse> {
        let limit = request.limit.min(self.limits.purge_max);
        let deleted = self.store.purge_tokens(request.expired_before_ms, limit).await?;
        Ok(PurgeRefreshTokensResponse { deleted })
    }
}

fn check_hash(hash: &[u8]) -> Result<()> {
    match hash.len() {
        HASH_BYTES => Ok(()),
        other => Err(refuse::invalid(format!("a token's hash has {HASH_BYTES} bytes, not {other}"))),
    }
}
