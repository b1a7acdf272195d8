//! What the log-ins cost, how many were turned away, and which tokens ended early.
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::metrics::{Counts, counter, gauge};

/// Counters of log-ins and tokens; clones share them.
#[derive(Clone)]
pub(crate) struct AuthMetrics {
    pub argon2_pending: Gauge,
    pub argon2_refused: Counter,
    pub argon2_runs: Counter,
    pub rate_limited: Counts,
    pub limits_forgotten: Counter,
    pub logins_failed: Counter,
    pub refresh_reused: Counter,
    pub revocations: Counts,
}

impl AuthMetrics {
    /// Names them in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let r = registry;
        Self {
            argon2_pending: gauge(r, "argon2_pending", "Password hashes waiting or at work"),
            argon2_refused: counter(r, "argon2_refused", "Hashes refused because the queue was full"),
            argon2_runs: counter(r, "argon2_runs", "Password hashes computed, right or wrong"),
            rate_limited: Counts::register(
                r,
                "rate_limited",
                "Attempts refused before any hashing, by the limit that they met",
                "reason",
            ),
            limits_forgotten: counter(
                r,
                "limits_forgotten",
                "Names and addresses whose attempts were forgotten early because there were too many",
            ),
            logins_failed: counter(r, "logins_failed", "Log-ins with a wrong name or password"),
            refresh_reused: counter(
                r,
                "refresh_reused",
                "Refresh tokens used again, which ended their family",
            ),
            revocations: Counts::register(
                r,
                "revocations",
                "Tokens of a user or device that ended before their time, by reason",
                "reason",
            ),
        }
    }
}
