//! The services that gateways call. Each handler is a plain function with our own error; the generated traits only
//! wrap them.
mod accounts;
mod auth;
mod conversations;
mod groups;
mod notify;
mod sessions;
mod users;

use gochat_infra::errors::{Code, Error};
use tonic::{Response, Status};

pub(crate) use accounts::{Accounts, Revocations};
pub(crate) use auth::{Auth, AuthDeps};
pub(crate) use conversations::Conversations;
pub(crate) use sessions::Sessions;
pub(crate) use users::Users;

/// The answer of a handler as the generated traits want it.
fn answer<T>(result: Result<T, Error>) -> Result<Response<T>, Status> {
    result.map(Response::new).map_err(Status::from)
}

/// A part of an answer that repo never leaves out.
fn present<T>(part: Option<T>, what: &'static str) -> Result<T, Error> {
    part.ok_or_else(|| Error::internal(format!("repo answered without a {what}")))
}

/// `Ok(None)` when the call failed with just this code.
fn none_if<T>(result: Result<T, Status>, code: Code) -> Result<Option<T>, Error> {
    match result.map_err(Error::from) {
        Ok(found) => Ok(Some(found)),
        Err(error) if error.code == code => Ok(None),
        Err(error) => Err(error),
    }
}

/// Ids come back by themselves, as soon as the clock does.
fn no_id(error: gochat_infra::idgen::IdError) -> Error {
    Error::new(Code::Unavailable, "No id could be drawn at this moment; please try again.").caused_by(error)
}
