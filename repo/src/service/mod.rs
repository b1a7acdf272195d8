//! The calls: form checked, then cache-aside over the store. Knows neither SQL nor gRPC.
mod check;
mod conversations;
mod groups;
mod messages;
mod revocations;
mod tasks;
mod tokens;
mod users;
mod whole;

use std::sync::Arc;

use crate::cache::Caches;
use crate::config::LimitsConfig;
use crate::metrics::RepoMetrics;
use crate::store::Store;

/// What every call works with. The gRPC services are views of this one.
pub(crate) struct Service {
    pub(crate) store: Store,
    pub(crate) caches: Caches,
    pub(crate) limits: LimitsConfig,
    pub(crate) metrics: RepoMetrics,
}

pub(crate) type Shared = Arc<Service>;
