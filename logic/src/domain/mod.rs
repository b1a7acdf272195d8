//! Rules without I/O: what a conversation id is, what a field may hold, who may do what in a group.

pub(crate) mod conversation;
pub(crate) mod fields;
pub(crate) mod group;
pub(crate) mod page;

use gochat_infra::errors::{Code, Error};

/// A field that breaks a rule, and the rule, in words for a person.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub(crate) struct Invalid {
    /// Name of the field as clients write it.
    pub field: &'static str,
    /// A whole sentence.
    pub reason: String,
}

impl Invalid {
    pub(crate) fn new(field: &'static str, reason: impl Into<String>) -> Self {
        Self { field, reason: reason.into() }
    }
}

impl From<Invalid> for Error {
    fn from(invalid: Invalid) -> Self {
        Error::new(Code::InvalidInput, invalid.reason).details(serde_json::json!({ "field": invalid.field }))
    }
}
