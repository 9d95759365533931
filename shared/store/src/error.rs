//! What can go wrong with the database, and what is to be done about it.

use sea_orm::{DbErr, RuntimeErr, SqlxError};
use sqlx::error::DatabaseError;

/// An error of the database, sorted by what helps.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It is away, overloaded, or took the other side of a conflict; trying again helps.
    #[error("cannot {action}: the database is not available")]
    Unavailable {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: DbErr,
    },
    /// It does not accept a value: one of the lines is at fault.
    #[error("cannot {action}: the database does not accept a value")]
    Data {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: DbErr,
    },
    /// It refuses: wrong credentials, a missing table, a bad address; trying again does not help by itself.
    #[error("cannot {action}: the database refuses")]
    Refused {
        /// What was tried.
        action: &'static str,
        /// What it said.
        #[source]
        source: DbErr,
    },
    /// Rows that a commit wrote were not there, and were there when they were written one by one.
    #[error("a trigger of the table leaves rows out now and then: which ones cannot be found")]
    Suppressed,
    /// A column of a dataset's table is not ours, and no row can be written without a value for it.
    #[error(
        "the table {table} has a column {column} that is NOT NULL without a default and that no record has: \
         give it a default, allow NULL, or drop it"
    )]
    ForeignColumn {
        /// The table.
        table: &'static str,
        /// The column.
        column: String,
    },
    /// There is no connection that is as safe as it was asked to be.
    #[error(
        "cannot connect to the database over TLS: {reason}; look at sslmode and sslrootcert in its URL"
    )]
    Unsafe {
        /// What is wrong with the server or the setting.
        reason: String,
    },
    /// Its address is none.
    #[error("the database's URL cannot be used: {0}")]
    Url(String),
    /// The file of an SQLite database is none, or may not be written.
    #[error("the database file {path} cannot be used: {reason}")]
    File {
        /// Where it is.
        path: String,
        /// What is wrong with it, and what to look at.
        reason: &'static str,
        /// What SQLite said.
        #[source]
        source: DbErr,
    },
    /// What stands between us and the database cannot be worked through.
    #[error("the connection pooler cannot be used: {reason}; docs/pgbouncer.md tells more")]
    Pooler {
        /// What is wrong with it, and what helps.
        reason: &'static str,
    },
    /// The ledger says something that it never should.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// Another process took over from one that reads and commits in order.
    #[error(
        "another process took this database over: only one may read and write it without REDIS_URL and NATS_URL; stop \
         the other one, then start this one again"
    )]
    TakenOver,
    /// Another mode of dedup is in use.
    #[error(
        "the ledger says dedup mode {theirs}, this writer runs in mode {ours}: \
         stop the other writers, let them finish all objects, or set --dedup and REDIS_URL as they have it"
    )]
    OtherMode {
        /// What the ledger says.
        theirs: jetline_records::Mode,
        /// What this process was started with.
        ours: jetline_records::Mode,
    },
}

impl Error {
    /// Sorts an error of a query that was made through [`crate::read`].
    #[must_use]
    pub fn reading(action: &'static str, source: DbErr) -> Self {
        Self::of(action, source)
    }

    /// Whether trying again may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        matches!(self, Self::Unavailable { .. })
    }

    /// Whether a row may be at fault: the database gave an answer, and it is not about its own state or the connection.
    #[must_use]
    pub fn may_be_of_a_row(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::Refused { .. }) && self.answer().is_some()
    }

    /// Whether the table, or the rights on it, may be at fault, in whatever a trigger does: a syntax error or a missing right.
    pub(crate) fn may_be_of_the_table(&self) -> bool {
        self.answer()
            .and_then(DatabaseError::code)
            .is_some_and(|code| code.len() == 5 && code.starts_with("42"))
    }

    /// Whether a right is missing, or a policy refuses a row.
    pub(crate) fn is_missing_right(&self) -> bool {
        let code = self.answer().and_then(DatabaseError::code);
        code.is_some_and(|code| code == "42501")
    }

    /// What the database said, with its SQLSTATE where it has such.
    pub(crate) fn database_message(&self) -> String {
        let Some(answer) = self.answer() else {
            return self.to_string();
        };
        match answer.code() {
            Some(code) if code.len() == 5 => format!("SQLSTATE {code}: {}", answer.message()),
            _ => answer.message().to_owned(),
        }
    }

    fn answer(&self) -> Option<&dyn DatabaseError> {
        let (Self::Unavailable { source, .. }
        | Self::Data { source, .. }
        | Self::Refused { source, .. }) = self
        else {
            return None;
        };
        let (DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error)) = source else {
            return None;
        };
        match error {
            RuntimeErr::SqlxError(error) => error.as_database_error(),
            RuntimeErr::Internal(_) => None,
        }
    }

    /// Sorts an error of a statement.
    pub(crate) fn of(action: &'static str, source: DbErr) -> Self {
        match class(&source) {
            Class::Unavailable => Self::Unavailable { action, source },
            Class::Data => Self::Data { action, source },
            Class::Refused => Self::Refused { action, source },
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Class {
    Unavailable,
    Data,
    Refused,
}

fn class(error: &DbErr) -> Class {
    let runtime = match error {
        DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error) => error,
        DbErr::ConnectionAcquire(_) => return Class::Unavailable,
        _ => return Class::Refused,
    };
    let RuntimeErr::SqlxError(error) = runtime else {
        return Class::Refused;
    };
    match &**error {
        SqlxError::Database(error) => error.code().map_or(Class::Refused, |code| {
            if code.len() == 5 {
                postgres(&code)
            } else {
                sqlite(&code)
            }
        }),
        SqlxError::Io(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed
        | SqlxError::Protocol(_) => Class::Unavailable,
        _ => Class::Refused,
    }
}

/// By class of SQLSTATE.
fn postgres(code: &str) -> Class {
    match &code[..2] {
        // data exception, integrity constraint violation, program limit exceeded
        "22" | "23" | "54" => Class::Data,
        // connection exception, insufficient resources, operator intervention, system error, transaction rollback
        "08" | "53" | "57" | "58" | "40" => Class::Unavailable,
        // lock not available, read-only transaction (a standby that was not promoted yet), ended by a time limit, a
        // prepared statement that is gone
        _ if matches!(code, "55P03" | "25006" | "25P03" | "25P04" | "26000") => Class::Unavailable,
        // damaged data, damaged index
        _ if matches!(code, "XX001" | "XX002") => Class::Unavailable,
        _ => Class::Refused,
    }
}

/// By primary result code.
fn sqlite(code: &str) -> Class {
    match primary(code) {
        // busy, locked, no memory, interrupt, I/O error, corrupt, full, protocol, schema
        Some(5 | 6 | 7 | 9 | 10 | 11 | 13 | 15 | 17) => Class::Unavailable,
        // too big, constraint, mismatch
        Some(18..=20) => Class::Data,
        _ => Class::Refused,
    }
}

/// SQLite's primary result code, where an error of it has one.
pub(crate) fn sqlite_code(error: &DbErr) -> Option<u32> {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    primary(&error.as_database_error()?.code()?)
}

fn primary(code: &str) -> Option<u32> {
    code.parse::<u32>().ok().map(|code| code & 0xff)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_sorted_by_what_helps() {
        for (code, expected) in [
            ("40P01", Class::Unavailable),
            ("57P01", Class::Unavailable),
            ("53100", Class::Unavailable),
            ("XX001", Class::Unavailable),
            ("XX000", Class::Refused),
            ("23514", Class::Data),
            ("22003", Class::Data),
            ("28P01", Class::Refused),
            ("42P01", Class::Refused),
        ] {
            assert_eq!(postgres(code), expected, "{code}");
        }
        for (code, expected) in [
            ("5", Class::Unavailable),
            ("517", Class::Unavailable),
            ("267", Class::Unavailable),
            ("275", Class::Data),
            ("1", Class::Refused),
        ] {
            assert_eq!(sqlite(code), expected, "{code}");
        }
    }
}
