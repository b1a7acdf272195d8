//! HTTP/1.1 as pure code: requests out of bytes, bytes out of answers.

mod request;
mod response;

pub use request::Request;
pub use response::Response;
