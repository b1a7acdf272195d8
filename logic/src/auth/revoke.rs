//! Ending tokens before their time: stored with its cause, then told to the gateways, which close the sockets.
use gochat_infra::errors::Error;
use gochat_infra::rpc;
use gochat_proto::common::v1::RevokeReason;
use gochat_proto::queue::v1::{UserEvent, user_event};
use gochat_proto::repo::v1::revocation_repo_client::RevocationRepoClient;
use gochat_proto::repo::v1::{Revocation, RevokeRequest};

use super::metrics::AuthMetrics;
use crate::config::AuthConfig;
use crate::events::Events;
use crate::pipeline::unix_ms;

/// Stores revocations and tells of them; clones share everything.
#[derive(Clone)]
pub(crate) struct Revoker {
    revocations: RevocationRepoClient<rpc::Client>,
    events: Events,
    metrics: AuthMetrics,
    /// From a token's issue until no gateway takes it any more.
    token_life_ms: i64,
}

impl Revoker {
    pub(crate) fn new(config: &AuthConfig, repo: rpc::Client, events: Events, metrics: AuthMetrics) -> Self {
        let token_life_ms = (i64::from(config.access_token_s) + i64::from(config.revocation_margin_s)) * 1000;
        Self { revocations: RevocationRepoClient::new(repo), events, metrics, token_life_ms }
    }

    /// A revocation of every token of a user (of one device, if it is named) that exists by now.
    pub(crate) fn of(&self, user_id: u64, device_id: String, reason: RevokeReason) -> Revocation {
        let issued_until_ms = unix_ms();
        Revocation {
            revocation_id: 0,
            user_id,
            device_id,
            issued_until_ms,
            reason: reason.into(),
            expires_at_ms: self.expires_at_ms(issued_until_ms),
        }
    }

    /// When a revocation of `now_ms` may be forgotten.
    pub(crate) fn expires_at_ms(&self, now_ms: i64) -> i64 {
        now_ms + self.token_life_ms
    }

    /// Stores the revocation with its cause in one transaction, then tells the gateways. It is done also when the
    /// caller gives up: stored and not told would let open sockets live until the gateways' next look.
    ///
    /// Tokens that are issued after it are not concerned, whatever the clock does: the store sees to that.
    pub(crate) async fn revoke(&self, request: RevokeRequest) -> Result<(), Error> {
        let this = self.clone();
        let done = tokio::spawn(async move {
            let Some(mut revocation) = request.revocation.clone() else {
                return Err(Error::internal("a revocation that revokes nothing"));
            };
            let stored = this.revocations.clone().revoke(request).await?.into_inner();
            revocation.revocation_id = stored.revocation_id;
            // Of what the store did, since tokens may be issued later than this clock says.
            revocation.issued_until_ms = stored.issued_until_ms;
            revocation.expires_at_ms = stored.expires_at_ms;
            this.tell(revocation);
            Ok(())
        });
        done.await.map_err(Error::internal)?
    }

    /// Tells of a revocation that is stored.
    pub(crate) fn tell(&self, revocation: Revocation) {
        self.metrics.revocations.inc(name(revocation.reason()));
        self.events.user(UserEvent {
            kind: user_event::Kind::Revoked.into(),
            user_id: revocation.user_id,
            device_id: revocation.device_id,
            at_ms: unix_ms(),
            issued_until_ms: revocation.issued_until_ms,
            reason: revocation.reason,
            expires_at_ms: revocation.expires_at_ms,
            revocation_id: revocation.revocation_id,
        });
    }
}

/// As clients are told, too.
fn name(reason: RevokeReason) -> &'static str {
    match reason {
        RevokeReason::Logout => "logout",
        RevokeReason::Banned => "banned",
        RevokeReason::PasswordChanged => "password-changed",
        RevokeReason::TokenReused => "token-reused",
        RevokeReason::Unspecified => "unspecified",
    }
}
