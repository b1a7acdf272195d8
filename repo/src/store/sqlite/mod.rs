//! The embedded dialect: one file, one writer, a few readers, lists handed over as JSON or as rows of VALUES
//! so that a call costs few statements whatever its size (each statement is a hop to the connection's
//! thread).
mod conversations;
mod groups;
mod messages;
mod open;
mod rows;
mod save;
mod tokens;
mod users;
mod writer;

pub(crate) use open::SqliteStore;
