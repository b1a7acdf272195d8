//! The errors of the repository, in one place so that each reads the same wherever it arises.
use gochat_infra::errors::{Code, Error};
use serde_json::json;

pub(crate) fn invalid(message: impl Into<String>) -> Error {
    Error::new(Code::InvalidInput, message)
}

pub(crate) fn unknown_users(ids: &[u64]) -> Error {
    // A bounded list: it goes to a client.
    let named: Vec<String> = ids.iter().take(20).map(u64::to_string).collect();
    Error::new(Code::UserNotFound, "no such user").details(json!({ "userIds": named }))
}

pub(crate) fn unknown_username() -> Error {
    Error::new(Code::UserNotFound, "no user has this name")
}

pub(crate) fn unknown_conversation() -> Error {
    Error::new(Code::ConversationNotFound, "no such conversation, or you were never in it")
}

pub(crate) fn unknown_group() -> Error {
    Error::new(Code::GroupNotFound, "no such group")
}

pub(crate) fn group_full(max_members: u32) -> Error {
    Error::new(Code::GroupFull, format!("the group allows {max_members} members"))
        .details(json!({ "maxMembers": max_members }))
}

pub(crate) fn too_many_groups(users: &[u64], groups_max: u32) -> Error {
    let named: Vec<String> = users.iter().map(u64::to_string).collect();
    Error::new(Code::TooManyGroups, format!("a user may be in {groups_max} groups, and one of these is"))
        .details(json!({ "userIds": named, "groupsMax": groups_max }))
}

pub(crate) fn stale(message: impl Into<String>) -> Error {
    Error::new(Code::StaleData, message)
}

/// The database said no for a reason of its own (disk, lock, connection): the call may be tried again.
pub(crate) fn database(error: sqlx::Error) -> Error {
    Error::new(Code::Unavailable, "the database did not answer").caused_by(error)
}

/// The database breaks a rule that this program keeps: a bug or a damaged file.
pub(crate) fn broken(what: &'static str) -> Error {
    Error::new(Code::Internal, what)
}

/// Ids are stored as positive 63-bit numbers.
pub(crate) fn id(value: u64, what: &str) -> Result<i64, Error> {
    match i64::try_from(value) {
        Ok(id) if id > 0 => Ok(id),
        _ => Err(invalid(format!("{what} must be between 1 and 2^63 - 1"))),
    }
}
