//! Rows to values and values to rows.
use std::fmt::Write as _;

use gochat_proto::common::v1::Message;
use gochat_proto::repo::v1::User;
use sqlx::Row;
use sqlx::sqlite::{SqliteArguments, SqliteConnection, SqliteRow};

use crate::store::{Result, VersionedUser, refuse};

/// What `message` reads, of `messages m` and `conversations c`.
macro_rules! message_columns {
    () => {
        "m.message_id, c.conversation_id, m.sender_id, m.content, m.message_type, m.seq_id, \
         m.client_msg_id, m.created_at"
    };
}
pub(super) use message_columns;

/// What `user` reads.
macro_rules! user_columns {
    () => {
        "user_id, username, email, password_hash, display_name, avatar_url, status, created_at, \
         updated_at, version"
    };
}
pub(super) use user_columns;

/// Ids and seqs are stored as signed numbers and are never negative.
pub(super) fn unsigned(row: &SqliteRow, column: usize) -> u64 {
    row.get_unchecked::<i64, _>(column).cast_unsigned()
}

pub(super) fn signed(row: &SqliteRow, column: usize) -> i64 {
    row.get_unchecked(column)
}

pub(super) fn optional(row: &SqliteRow, column: usize) -> Option<u64> {
    row.get_unchecked::<Option<i64>, _>(column).map(i64::cast_unsigned)
}

pub(super) fn text(row: &SqliteRow, column: usize) -> String {
    row.get_unchecked(column)
}

/// A number that was stored from an enum or a 32-bit field.
pub(super) fn small<T: TryFrom<i64> + Default>(row: &SqliteRow, column: usize) -> T {
    T::try_from(signed(row, column)).unwrap_or_default()
}

pub(super) fn message(row: &SqliteRow) -> Message {
    message_at(row, 0)
}

/// A message whose columns begin at this one.
pub(super) fn message_at(row: &SqliteRow, first: usize) -> Message {
    Message {
        message_id: unsigned(row, first),
        conversation_id: text(row, first + 1),
        sender_id: unsigned(row, first + 2),
        content: text(row, first + 3),
        message_type: small(row, first + 4),
        seq_id: unsigned(row, first + 5),
        client_msg_id: text(row, first + 6),
        created_at_ms: signed(row, first + 7),
    }
}

pub(super) fn user(row: &SqliteRow) -> VersionedUser {
    VersionedUser {
        user: User {
            user_id: unsigned(row, 0),
            username: text(row, 1),
            email: text(row, 2),
            password_hash: text(row, 3),
            display_name: text(row, 4),
            avatar_url: text(row, 5),
            status: small(row, 6),
            created_at_ms: signed(row, 7),
            updated_at_ms: signed(row, 8),
        },
        version: unsigned(row, 9),
    }
}

/// `[1,2,3]`, to be read by json_each.
pub(super) fn json_numbers<T: std::fmt::Display>(numbers: impl IntoIterator<Item = T>) -> String {
    let mut json = String::from("[");
    for number in numbers {
        let comma = if json.len() > 1 { "," } else { "" };
        write!(json, "{comma}{number}").expect("a String takes all");
    }
    json.push(']');
    json
}

/// `["a","b"]`, to be read by json_each.
pub(super) fn json_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> String {
    let texts: Vec<&str> = texts.into_iter().collect();
    serde_json::to_string(&texts).expect("strings become JSON")
}

/// Rows in one statement at most. Every power of two up to here is a statement of its own that stays
/// prepared, so a batch of any size takes about as many statements as its size has bits.
const ROWS_PER_STATEMENT_MAX: usize = 256;

/// Inserts rows with `INSERT … VALUES (?, …), (?, …)`: all of them, or an error.
pub(super) async fn insert_all<T>(
    conn: &mut SqliteConnection,
    insert_into: &'static str,
    columns: usize,
    rows: &[T],
    bind: impl Fn(&T, &mut SqliteArguments) -> std::result::Result<(), sqlx::error::BoxDynError>,
) -> Result<()> {
    let mut left = rows;
    while !left.is_empty() {
        let size = largest_power_of_two(left.len().min(ROWS_PER_STATEMENT_MAX));
        let (chunk, rest) = left.split_at(size);
        let mut arguments = SqliteArguments::default();
        sqlx::Arguments::reserve(&mut arguments, size * columns, 0);
        for row in chunk {
            bind(row, &mut arguments).map_err(|error| refuse::database(sqlx::Error::Encode(error)))?;
        }
        // Built of constants and a row count alone.
        let sql = sqlx::AssertSqlSafe(values_statement(insert_into, columns, size));
        sqlx::query_with(sql, arguments).execute(&mut *conn).await.map_err(refuse::database)?;
        left = rest;
    }
    Ok(())
}

fn values_statement(insert_into: &str, columns: usize, rows: usize) -> String {
    let row = format!("({})", vec!["?"; columns].join(","));
    let mut sql = String::with_capacity(insert_into.len() + 8 + (row.len() + 1) * rows);
    write!(sql, "{insert_into} VALUES {row}").expect("a String takes all");
    for _ in 1..rows {
        sql.push(',');
        sql.push_str(&row);
    }
    sql
}

fn largest_power_of_two(n: usize) -> usize {
    1 << (usize::BITS - 1 - n.leading_zeros())
}

/// Several values of one type at once.
pub(super) trait AddAll {
    fn add_all<T, const N: usize>(
        &mut self,
        values: [T; N],
    ) -> std::result::Result<(), sqlx::error::BoxDynError>
    where
        T: for<'t> sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>;
}

impl AddAll for SqliteArguments {
    fn add_all<T, const N: usize>(
        &mut self,
        values: [T; N],
    ) -> std::result::Result<(), sqlx::error::BoxDynError>
    where
        T: for<'t> sqlx::Encode<'t, sqlx::Sqlite> + sqlx::Type<sqlx::Sqlite>,
    {
        values.into_iter().try_for_each(|value| sqlx::Arguments::add(self, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_and_lists() {
        assert_eq!(values_statement("INSERT INTO t", 2, 1), "INSERT INTO t VALUES (?,?)");
        assert_eq!(values_statement("INSERT INTO t", 1, 3), "INSERT INTO t VALUES (?),(?),(?)");
        assert_eq!(json_numbers([0u64; 0]), "[]");
        assert_eq!(json_numbers([1i64, -2]), "[1,-2]");
        assert_eq!(json_texts(["a\"b"]), r#"["a\"b"]"#);
        for (n, expect) in [(1, 1), (2, 2), (3, 2), (255, 128), (256, 256)] {
            assert_eq!(largest_power_of_two(n), expect);
        }
    }
}
