//! RFC 6455 framing as pure code: bytes in, messages and frames out.

mod breach;
mod close;
mod decoder;
mod frame;
mod header;
mod mask;
mod utf8;

pub use breach::Breach;
pub(crate) use close::is_sendable;
pub(crate) use decoder::{Assembly, Decoded, Limits, decode};
pub use frame::Frame;
pub(crate) use header::OpCode;
