//! What the tasks do.
pub(crate) mod purge;
