//! What the log-ins cost and how many were turned away.
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

/// Counters of the hash pool.
#[derive(Clone, Default)]
pub(crate) struct AuthMetrics {
    pub argon2_pending: Gauge,
    pub argon2_refused: Counter,
    pub logins_failed: Counter,
    pub refresh_reused: Counter,
}

impl AuthMetrics {
    /// Names them in `registry`.
    pub(crate) fn register(registry: &mut Registry) -> Self {
        let all = Self::default();
        registry.register("argon2_pending", "Password hashes waiting or at work", all.argon2_pending.clone());
        registry.register(
            "argon2_refused",
            "Hashes refused because the queue was full",
            all.argon2_refused.clone(),
        );
        registry.register(
            "logins_failed",
            "Log-ins with a wrong name or password",
            all.logins_failed.clone(),
        );
        registry.register(
            "refresh_reused",
            "Refresh tokens used again, which ended their family",
            all.refresh_reused.clone(),
        );
        all
    }
}
