//! What is written about the protocol is what the code does: every example of docs/ is run.

mod closes;
mod codes;
mod openapi;
mod protocol;
mod schema;
mod table;

/// The file in docs/.
pub(crate) const OPENAPI: &str = include_str!("../../../../docs/openapi.yaml");
/// The file in docs/.
pub(crate) const PROTOCOL: &str = include_str!("../../../../docs/protocol.md");
/// The rule book in docs/.
pub(crate) const CLIENT: &str = include_str!("../../../../docs/client.md");
