//! What can go wrong with the database, and what is to be done about it.

use sea_orm::{DbErr, RuntimeErr, SqlxError};

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
    /// There is no connection that is as safe as it was asked to be.
    #[error(
        "cannot connect to the database over TLS: {reason}; look at sslmode and sslrootcert in its URL"
    )]
    Unsafe {
        /// What is wrong with the server or the setting.
        reason: String,
    },
    /// The ledger says something that it never should.
    #[error("the ledger is damaged: {0}")]
    Damaged(String),
    /// Another process took over from one that reads and commits in order.
    #[error(
        "another process took this database over: only one may read and write it without REDIS_URL and NATS_URL"
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
        // lock not available, read-only transaction (a standby that was not promoted yet), ended by a time limit
        _ if matches!(code, "55P03" | "25006" | "25P03" | "25P04") => Class::Unavailable,
        _ => Class::Refused,
    }
}

/// By primary result code.
fn sqlite(code: &str) -> Class {
    match code.parse::<u32>().map(|code| code & 0xff) {
        // busy, locked, interrupt, I/O error, full, protocol
        Ok(5 | 6 | 9 | 10 | 13 | 15) => Class::Unavailable,
        // too big, constraint, mismatch
        Ok(18..=20) => Class::Data,
        _ => Class::Refused,
    }
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
            ("275", Class::Data),
            ("1", Class::Refused),
        ] {
            assert_eq!(sqlite(code), expected, "{code}");
        }
    }
}
