//! Passwords and tokens.
pub(crate) mod limits;
pub(crate) mod metrics;
pub(crate) mod password;
mod pool;
pub(crate) mod refresh;
pub(crate) mod revoke;
