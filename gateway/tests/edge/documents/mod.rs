//! What is written about the protocol is what the code does: every example of docs/ is run.

mod openapi;
mod protocol;
mod schema;

/// The file in docs/.
pub(crate) const OPENAPI: &str = include_str!("../../../../docs/openapi.yaml");
/// The file in docs/.
pub(crate) const PROTOCOL: &str = include_str!("../../../../docs/protocol.md");
