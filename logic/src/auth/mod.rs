//! Passwords and tokens.
pub(crate) mod metrics;
pub(crate) mod password;
mod pool;
pub(crate) mod refresh;
