//! Revocations: straight to the store, since every answer must be the newest.
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::repo::v1::{
    ListRevocationsRequest, ListRevocationsResponse, PurgeRevocationsRequest, PurgeRevocationsResponse,
    Revocation, RevokeRequest, RevokeResponse,
};

use super::{Service, Shared, check};
use crate::store::{Result, refuse, unix_ms};

impl Service {
    /// Goes on in a task of its own when the caller gives up, like the update of a user.
    pub(crate) async fn revoke(self: &Shared, mut request: RevokeRequest) -> Result<RevokeResponse> {
        let Some(revocation) = &mut request.revocation else {
            return Err(refuse::invalid("a revocation says whose tokens end"));
        };
        let user_id = revocation.user_id;
        refuse::id(user_id, "a user id")?;
        if revocation.reason() == RevokeReason::Unspecified {
            return Err(refuse::invalid("a revocation has a reason"));
        }
        if revocation.expires_at_ms <= revocation.issued_until_ms {
            return Err(refuse::invalid("a revocation lives longer than the tokens that it ends"));
        }
        // Later tokens must come after it, so a caller's clock that is far ahead must not have its way.
        let latest_ms = unix_ms().saturating_add(self.limits.revocation_ahead_max_ms);
        let ahead_ms = (revocation.issued_until_ms.saturating_sub(latest_ms)).max(0);
        revocation.issued_until_ms -= ahead_ms;
        revocation.expires_at_ms -= ahead_ms;
        let changes_user = request.status.is_some() || request.password_hash.is_some();
        let service = self.clone();
        let revoke = tokio::spawn(async move {
            let revoked = service.store.revoke(request).await;
            if changes_user {
                // Also after a failure: the outcome of a commit that failed is not certain.
                service.caches.forget_user(user_id).await;
            }
            revoked
        });
        let stored = revoke.await.map_err(|_| refuse::broken("a revocation was broken off"))??;
        let Revocation { revocation_id, issued_until_ms, expires_at_ms, .. } = stored;
        Ok(RevokeResponse { revocation_id, issued_until_ms, expires_at_ms })
    }

    pub(crate) async fn list_revocations(
        &self,
        request: ListRevocationsRequest,
    ) -> Result<ListRevocationsResponse> {
        let limit = check::page(request.limit, &self.limits);
        let page = self.store.revocations(request.after_revocation_id, request.now_ms, limit).await?;
        Ok(ListRevocationsResponse { revocations: page.items, has_more: page.has_more })
    }

    pub(crate) async fn purge_revocations(
        &self,
        request: PurgeRevocationsRequest,
    ) -> Result<PurgeRevocationsResponse> {
        let limit = request.limit.min(self.limits.purge_max);
        let deleted = self.store.purge_revocations(request.expired_before_ms, limit).await?;
        Ok(PurgeRevocationsResponse { deleted })
    }
}
