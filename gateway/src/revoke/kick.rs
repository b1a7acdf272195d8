//! What a shard does with what it knows: refuses tokens, and puts sockets out.

use gochat_core::{ConnId, Cx};
use gochat_infra::{
    errors::{Code, Error},
    token::Claims,
};
use gochat_proto::common::v1::RevokeReason;

use super::set::{Revocation, Standing};
use crate::{
    protocol::outbound,
    shard::{Closed, Farewell, Shard},
};

/// Token expired, revoked or too old: whatever it is, this one opens no socket any more.
pub(crate) const CLOSE_TOKEN: u16 = 4401;

const TOO_OLD: Farewell = Farewell {
    code: CLOSE_TOKEN,
    reason: "the access token is too old, refresh it",
    counter: Closed::TokenTooOld,
};

/// A reason as the frame `kicked` names it, its sentence, and how it is counted.
fn told(reason: RevokeReason) -> (&'static str, &'static str, Closed) {
    match reason {
        // A newer logic's reason: the device is logged out, whatever the cause.
        RevokeReason::Unspecified | RevokeReason::Logout => {
            ("logout", "this device was logged out", Closed::KickedLogout)
        }
        RevokeReason::Banned => ("banned", "this account is banned", Closed::KickedBanned),
        RevokeReason::PasswordChanged => {
            ("password-changed", "the password was changed: log in again", Closed::KickedPasswordChanged)
        }
        RevokeReason::TokenReused => (
            "token-reused",
            "a refresh token of this device was used twice and may be stolen: log in again",
            Closed::KickedTokenReused,
        ),
    }
}

impl Shard {
    /// Takes revocations in, and puts out whoever is connected here with a token that they concern.
    pub(crate) fn revoked(&mut self, cx: &mut Cx<'_, Shard>, revocations: &[Revocation]) {
        let now_ms = u64::try_from(cx.unix_ms()).unwrap_or(0);
        for revocation in revocations {
            self.counters.revocations_folded += self.revocations.add(revocation, now_ms);
            for conn in cx.conns_of(revocation.user_id) {
                let concerned = cx
                    .session(conn)
                    .is_some_and(|session| revocation.concerns(&session.device_id, session.issued_ms));
                if concerned {
                    self.kick(cx, conn, revocation.reason);
                }
            }
        }
    }

    /// Whether a connection that came home may stay: its token may have ended on the way.
    pub(crate) fn may_stay(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId) -> bool {
        let Some(session) = cx.session(conn) else { return false };
        match self.revocations.standing(session.user_id, &session.device_id, session.issued_ms) {
            Standing::Good => return true,
            Standing::Revoked(reason) => self.kick(cx, conn, reason),
            Standing::TooOld => self.close(cx, conn, &TOO_OLD),
        }
        false
    }

    fn kick(&mut self, cx: &mut Cx<'_, Shard>, conn: ConnId, reason: RevokeReason) {
        let (name, sentence, counter) = told(reason);
        let frame = outbound::kicked(name, sentence, cx.unix_ms());
        let _ = self.queue(cx, conn, &frame);
        self.close(cx, conn, &Farewell { code: CLOSE_TOKEN, reason: sentence, counter });
    }

    /// Refuses a token that ended before its time.
    pub(crate) fn check_token(&self, claims: &Claims) -> Result<(), Error> {
        let message = match self.revocations.standing(claims.sub, &claims.device, claims.iat_ms) {
            Standing::Good => return Ok(()),
            Standing::Revoked(_) => "the access token was revoked: log in",
            Standing::TooOld => "the access token is too old: refresh it",
        };
        Err(Error::new(Code::Unauthenticated, message))
    }
}
