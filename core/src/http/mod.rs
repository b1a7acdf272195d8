//! HTTP/1.1 as pure code: requests out of bytes, bytes out of answers.

pub(crate) mod intake;
mod refused;
mod request;
mod response;
pub(crate) mod upgrade;

pub use refused::RequestRefused;
pub use request::Request;
pub use response::Response;
