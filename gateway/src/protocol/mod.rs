//! The client protocol as pure code: bytes in, typed frames out, and back. No runtime, no clock.

pub(crate) mod conversation;
pub(crate) mod envelope;
pub(crate) mod inbound;
pub(crate) mod json;
pub(crate) mod outbound;
