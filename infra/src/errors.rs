//! The one table of error codes: number, wire name, gRPC status, HTTP status.
//!
//! A domain error travels between services as a gRPC status whose metadata carries the number, so the
//! receiver gets back exactly the error that was sent. A status without a number came from the transport
//! (or from a bug) and becomes `Unavailable`, `Timeout` or `Internal`.

use std::fmt;
use std::sync::Arc;

use serde_json::Value;
use tonic::metadata::{MetadataMap, MetadataValue};

const CODE_KEY: &str = "gochat-code";
const RETRY_KEY: &str = "gochat-retry-after-ms";
const DETAILS_KEY: &str = "gochat-details-bin";

/// Details travel in a header, and HTTP/2 peers refuse header lists over 16 KiB; longer ones are left out.
const DETAILS_BYTES_MAX: usize = 4096;

/// What went wrong, as clients see it. The discriminants are the wire numbers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[repr(u32)]
pub enum Code {
    /// The caller sent something that can never be accepted.
    InvalidInput = 1000,
    /// No such user.
    UserNotFound = 1001,
    /// The caller is known but may not do this.
    PermissionDenied = 1002,
    /// The same client message id was used before with other content.
    DuplicateMessage = 1003,
    /// No such conversation.
    ConversationNotFound = 1004,
    /// The group has as many members as it may have.
    GroupFull = 1005,
    /// No token, or one that is expired or forged.
    Unauthenticated = 1006,
    /// The user name belongs to somebody.
    UsernameTaken = 1007,
    /// The e-mail address belongs to somebody.
    EmailTaken = 1008,
    /// No such path.
    RouteNotFound = 1009,
    /// The path exists, but not for this method.
    MethodNotAllowed = 1010,
    /// The request or message is longer than allowed.
    TooLarge = 1011,
    /// This caller is too fast; others are served.
    RateLimited = 1012,
    /// The server has more work than it can take; try again later.
    Overloaded = 1013,
    /// A part that is needed can't be reached now.
    Unavailable = 1014,
    /// No answer within the deadline: the outcome is unknown.
    Timeout = 1015,
    /// No such group.
    GroupNotFound = 1016,
    /// What the caller relied on has changed meanwhile; read again and retry.
    StaleData = 1017,
    /// A user is in as many groups as one may be.
    TooManyGroups = 1018,
    /// A bug or a broken dependency of ours.
    Internal = 1999,
}

struct Row {
    name: &'static str,
    grpc: tonic::Code,
    http: u16,
}

impl Code {
    /// Every code, in the order of the numbers.
    pub const ALL: [Code; 20] = [
        Code::InvalidInput,
        Code::UserNotFound,
        Code::PermissionDenied,
        Code::DuplicateMessage,
        Code::ConversationNotFound,
        Code::GroupFull,
        Code::Unauthenticated,
        Code::UsernameTaken,
        Code::EmailTaken,
        Code::RouteNotFound,
        Code::MethodNotAllowed,
        Code::TooLarge,
        Code::RateLimited,
        Code::Overloaded,
        Code::Unavailable,
        Code::Timeout,
        Code::GroupNotFound,
        Code::StaleData,
        Code::TooManyGroups,
        Code::Internal,
    ];

    const fn row(self) -> Row {
        use tonic::Code as G;
        let (name, grpc, http) = match self {
            Code::InvalidInput => ("invalid-input", G::InvalidArgument, 400),
            Code::UserNotFound => ("user-not-found", G::NotFound, 404),
            Code::PermissionDenied => ("permission-denied", G::PermissionDenied, 403),
            Code::DuplicateMessage => ("duplicate-message", G::AlreadyExists, 409),
            Code::ConversationNotFound => ("conversation-not-found", G::NotFound, 404),
            Code::GroupFull => ("group-full", G::ResourceExhausted, 409),
            Code::Unauthenticated => ("unauthenticated", G::Unauthenticated, 401),
            Code::UsernameTaken => ("username-taken", G::AlreadyExists, 409),
            Code::EmailTaken => ("email-taken", G::AlreadyExists, 409),
            Code::RouteNotFound => ("route-not-found", G::Unimplemented, 404),
            Code::MethodNotAllowed => ("method-not-allowed", G::Unimplemented, 405),
            Code::TooLarge => ("too-large", G::OutOfRange, 413),
            Code::RateLimited => ("rate-limited", G::ResourceExhausted, 429),
            Code::Overloaded => ("overloaded", G::Unavailable, 503),
            Code::Unavailable => ("unavailable", G::Unavailable, 503),
            Code::Timeout => ("timeout", G::DeadlineExceeded, 504),
            Code::GroupNotFound => ("group-not-found", G::NotFound, 404),
            Code::StaleData => ("stale-data", G::Aborted, 409),
            Code::TooManyGroups => ("too-many-groups", G::ResourceExhausted, 409),
            Code::Internal => ("internal", G::Internal, 500),
        };
        Row { name, grpc, http }
    }

    /// The wire number, 1000 to 1999.
    pub const fn number(self) -> u32 {
        self as u32
    }

    /// The wire name, in kebab-case.
    pub const fn name(self) -> &'static str {
        self.row().name
    }

    /// The gRPC status that carries this code between services.
    pub const fn grpc(self) -> tonic::Code {
        self.row().grpc
    }

    /// The HTTP status of a REST answer with this code.
    pub const fn http_status(self) -> u16 {
        self.row().http
    }

    /// The code of a wire number; `None` for a number that this version doesn't know.
    pub fn from_number(number: u32) -> Option<Code> {
        Code::ALL.into_iter().find(|code| code.number() == number)
    }

    /// Whether the same call may succeed later with nothing changed by the caller. `Internal` is not
    /// transient, though a caller that must not lose work will try again after it too.
    pub const fn is_transient(self) -> bool {
        matches!(self, Code::RateLimited | Code::Overloaded | Code::Unavailable | Code::Timeout)
    }
}

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// An error with a code from the table, and a sentence that a person understands.
///
/// `message` and `details` are for the caller and go over the wire; `source` is for the log and never
/// does. Of a [`Code::Internal`] error the message too stays in the log.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{code}: {message}")]
pub struct Error {
    /// Whose fault it is and what to do next.
    pub code: Code,
    /// One sentence for a person.
    pub message: String,
    /// Anything a program could use, at most 4 KiB as JSON (longer ones don't travel).
    pub details: Option<Value>,
    /// When to try again, in milliseconds from now.
    pub retry_after_ms: Option<u64>,
    /// The cause, for the log.
    #[source]
    pub source: Option<Arc<dyn std::error::Error + Send + Sync>>,
}

impl Error {
    /// An error with a code and a sentence.
    pub fn new(code: Code, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), details: None, retry_after_ms: None, source: None }
    }

    /// [`Code::InvalidInput`] with a sentence that says which field and why.
    pub fn invalid(message: impl Into<String>) -> Error {
        Error::new(Code::InvalidInput, message)
    }

    /// [`Code::Internal`] with its cause.
    pub fn internal(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        let source = source.into();
        let mut error = Error::new(Code::Internal, source.to_string());
        error.source = Some(Arc::from(source));
        error
    }

    /// Adds details for programs.
    #[must_use]
    pub fn details(mut self, details: Value) -> Error {
        self.details = Some(details);
        self
    }

    /// Says when to try again.
    #[must_use]
    pub fn retry_after_ms(mut self, ms: u64) -> Error {
        self.retry_after_ms = Some(ms);
        self
    }

    /// Keeps the cause for the log.
    #[must_use]
    pub fn caused_by(mut self, source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Error {
        self.source = Some(Arc::from(source.into()));
        self
    }

    /// The sentence that may be shown to the caller: an internal error keeps its cause to itself.
    pub fn public_message(&self) -> &str {
        match self.code {
            Code::Internal => "Something went wrong on our side.",
            _ => &self.message,
        }
    }
}

impl From<Error> for tonic::Status {
    fn from(error: Error) -> tonic::Status {
        if error.code == Code::Internal {
            tracing::error!(message = %error.message, cause = ?error.source, "internal error answered");
        }
        let mut metadata = MetadataMap::new();
        metadata.insert(CODE_KEY, MetadataValue::from(error.code.number()));
        if let Some(ms) = error.retry_after_ms {
            metadata.insert(RETRY_KEY, MetadataValue::from(ms));
        }
        if let Some(details) = &error.details {
            let json = details.to_string();
            if json.len() <= DETAILS_BYTES_MAX {
                metadata.insert_bin(DETAILS_KEY, MetadataValue::from_bytes(json.as_bytes()));
            }
        }
        let mut status =
            tonic::Status::with_metadata(error.code.grpc(), error.public_message().to_owned(), metadata);
        if let Some(source) = error.source {
            status.set_source(source);
        }
        status
    }
}

impl From<tonic::Status> for Error {
    fn from(status: tonic::Status) -> Error {
        let number = |key| {
            let value = status.metadata().get(key)?.to_str().ok()?;
            value.parse::<u64>().ok()
        };
        let known = number(CODE_KEY).and_then(|n| u32::try_from(n).ok()).and_then(Code::from_number);
        let code = known.unwrap_or_else(|| code_of_foreign(status.code()));
        let details = status
            .metadata()
            .get_bin(DETAILS_KEY)
            .and_then(|value| value.to_bytes().ok())
            .and_then(|bytes| serde_json::from_slice(&bytes).ok());
        let mut error = Error::new(code, status.message());
        error.details = details;
        error.retry_after_ms = number(RETRY_KEY);
        error.source = Some(Arc::new(status));
        error
    }
}

/// A status that no service of ours made on purpose. tonic's own time-outs say `Cancelled`.
fn code_of_foreign(code: tonic::Code) -> Code {
    match code {
        tonic::Code::Unavailable => Code::Unavailable,
        tonic::Code::DeadlineExceeded | tonic::Code::Cancelled => Code::Timeout,
        _ => Code::Internal,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn the_table_is_total_and_its_numbers_and_names_are_unique() {
        let numbers: HashSet<u32> = Code::ALL.iter().map(|c| c.number()).collect();
        let names: HashSet<&str> = Code::ALL.iter().map(|c| c.name()).collect();
        assert_eq!((numbers.len(), names.len()), (Code::ALL.len(), Code::ALL.len()));
        assert!(Code::ALL.windows(2).all(|pair| pair[0] < pair[1]));
        for number in 0..3000 {
            let found = Code::from_number(number);
            assert_eq!(found.is_some(), numbers.contains(&number), "{number}");
            assert!(found.is_none_or(|code| code.number() == number));
        }
    }

    #[test]
    fn every_code_survives_a_status() {
        for code in Code::ALL {
            let sent = Error::new(code, "why").details(serde_json::json!({"field": "ü"})).retry_after_ms(7);
            let status = tonic::Status::from(sent);
            assert_eq!(status.code(), code.grpc());
            let got = Error::from(status);
            assert_eq!(got.code, code);
            assert_eq!(got.details, Some(serde_json::json!({"field": "ü"})));
            assert_eq!(got.retry_after_ms, Some(7));
            assert_eq!(got.message == "why", code != Code::Internal, "{code}");
        }
    }

    #[test]
    fn the_cause_of_an_internal_error_stays_here() {
        let status = tonic::Status::from(Error::internal("password of the database: hunter2"));
        assert!(!status.message().contains("hunter2"));
    }

    #[test]
    fn a_foreign_status_is_judged_by_its_grpc_code() {
        let check = |status: tonic::Status, code| assert_eq!(Error::from(status).code, code);
        check(tonic::Status::unavailable("x"), Code::Unavailable);
        check(tonic::Status::deadline_exceeded("x"), Code::Timeout);
        check(tonic::Status::cancelled("x"), Code::Timeout);
        check(tonic::Status::not_found("x"), Code::Internal);
        let mut unknown = tonic::Status::not_found("x");
        unknown.metadata_mut().insert(CODE_KEY, MetadataValue::from(1998u32));
        check(unknown, Code::Internal);
    }

    #[test]
    fn details_too_long_for_a_header_are_left_out() {
        let sent = Error::invalid("x").details(Value::String("a".repeat(5000)));
        assert_eq!(Error::from(tonic::Status::from(sent)).details, None);
    }
}
