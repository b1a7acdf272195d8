//! The embedded dialect: one file, one writer, a few readers, lists handed over as JSON or as rows of VALUES
//! so that a call costs few statements whatever its size (each statement is a hop to the connection's
//! thread).
mod conversations;
mod copy;
mod disk;
mod groups;
mod messages;
mod open;
#[cfg(test)]
mod plans;
mod purge;
mod readers;
mod revocations;
mod rows;
mod save;
mod task_cursors;
mod tokens;
mod users;
mod writer;

pub use copy::raise_epoch;
pub(crate) use open::SqliteStore;
