//! Errors of the database, classified by how they are handled.

pub(crate) mod class;

use std::borrow::Cow;

use sea_orm::{DbErr, RuntimeErr, SqlxError};
use sqlx::error::DatabaseError;

use self::class::{Class, is_caused_by_table, with_sqlstate};

/// SQLite's primary result code of a statement that was interrupted.
const INTERRUPTED: u32 = 9;

/// An error of the driver.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DriverError(pub(crate) DbErr);

/// An error of the database.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The database is unavailable, overloaded, or rolled the transaction back because of a conflict; to be retried.
    #[error("cannot {action}: the database is not available")]
    Unavailable {
        /// The operation that failed.
        action: &'static str,
        /// The driver's error.
        #[source]
        source: DriverError,
    },
    /// The database does not accept a value of one of the lines.
    #[error("cannot {action}: the database does not accept a value")]
    Data {
        /// The operation that failed.
        action: &'static str,
        /// The driver's error.
        #[source]
        source: DriverError,
    },
    /// The database refuses the statement: wrong credentials, a missing table, a bad address. A retry alone does not
    /// help.
    #[error("cannot {action}: the database refuses")]
    Refused {
        /// The operation that failed.
        action: &'static str,
        /// The driver's error.
        #[source]
        source: DriverError,
    },
    /// Rows were missing after a commit wrote them, but not when they were written one by one.
    #[error("a trigger of the table suppresses rows intermittently: which ones could not be found")]
    Suppressed,
    /// A dataset's table has a column that is not part of the dataset and that needs a value in every row.
    #[error(
        "the table {table} has a column {column} that is NOT NULL without a default and that no record has: \
         give it a default, allow NULL, or drop it"
    )]
    UnknownRequiredColumn {
        /// The table.
        table: String,
        /// The column.
        column: String,
    },
    /// A declaration that does not fit the table or the earlier declarations of its dataset.
    #[error("the declaration of the dataset {dataset} is refused: {reason}")]
    Declaration {
        /// The dataset.
        dataset: String,
        /// Why.
        reason: String,
    },
    /// The TLS connection that the URL asks for could not be made.
    #[error(
        "cannot connect to the database over TLS: {reason}; look at sslmode and sslrootcert in its URL"
    )]
    Tls {
        /// What is wrong with the server or the setting.
        reason: String,
    },
    /// The URL is invalid.
    #[error("the database's URL cannot be used: {0}")]
    Url(String),
    /// The file is not an SQLite database, or cannot be written.
    #[error("the database file {path} cannot be used: {reason}")]
    File {
        /// Its path.
        path: String,
        /// What is wrong with it, and what to check.
        reason: &'static str,
        /// The error of SQLite.
        #[source]
        source: DriverError,
    },
    /// The connection pooler is configured in a way that does not work.
    #[error("the connection pooler cannot be used: {reason}; see docs/pgbouncer.md")]
    Pooler {
        /// What is wrong with it, and how to fix it.
        reason: &'static str,
    },
    /// The ledger has a value that cannot be.
    #[error("the ledger is corrupt: {0}")]
    Corrupt(String),
    /// Objects that were listed are not in the table any more.
    #[error(
        "only {read} of {listed} listed objects are left in the table listed_objects; PostgreSQL empties it after a crash, \
         and a listing that stores nothing for a day is removed: the sources are listed again"
    )]
    ListingLost {
        /// How many there are.
        read: usize,
        /// How many were listed.
        listed: usize,
    },
    /// In the in-order mode, another process took the database over.
    #[error(
        "another process took this database over: only one may read and write it without REDIS_URL and NATS_URL; stop \
         the other one, then start this one again"
    )]
    TakenOver,
    /// The ledger is in another dedup mode.
    #[error(
        "the ledger says dedup mode {theirs}, this writer runs in mode {ours}: \
         stop the other writers, let them finish all objects, or set --dedup and REDIS_URL as they have it"
    )]
    ModeMismatch {
        /// The mode of the ledger.
        theirs: jetline_core::Mode,
        /// The mode of this process.
        ours: jetline_core::Mode,
    },
}

impl Error {
    /// Whether a retry may succeed.
    #[must_use]
    pub fn is_transient(&self) -> bool {
        matches!(self, Self::Unavailable { .. } | Self::ListingLost { .. })
    }

    /// Whether a row may be the cause: the database returned an error that is not about its own state or the
    /// connection.
    #[must_use]
    pub fn may_be_caused_by_row(&self) -> bool {
        matches!(self, Self::Data { .. } | Self::Refused { .. }) && self.database_error().is_some()
    }

    /// Whether the table, a trigger of it or its privileges may be the cause: SQLSTATE class 42, syntax error or access
    /// rule violation.
    pub(crate) fn may_be_caused_by_table(&self) -> bool {
        self.code().is_some_and(|code| is_caused_by_table(&code))
    }

    /// Whether a privilege is missing, or a row security policy refuses a row.
    pub(crate) fn is_insufficient_privilege(&self) -> bool {
        self.code().is_some_and(|code| code == "42501")
    }

    /// Whether the database ended a statement because of a limit of its time.
    pub(crate) fn is_cancelled(&self) -> bool {
        self.code().is_some_and(|code| match code.len() {
            5 => code == "57014",
            _ => class::primary(&code) == Some(INTERRUPTED),
        })
    }

    /// The error, where a statement of a query failed: it cannot write, however long it is retried.
    pub(crate) fn of_query(self) -> Self {
        let writes = self.code().is_some_and(|code| code == "25006");
        match self {
            Self::Unavailable { action, source } if writes => Self::Refused { action, source },
            other => other,
        }
    }

    /// The message of the database, with its SQLSTATE where there is one.
    pub(crate) fn database_message(&self) -> String {
        let Some(answer) = self.database_error() else {
            return self.to_string();
        };
        match answer.code() {
            Some(code) if code.len() == 5 => with_sqlstate(&code, answer.message()),
            _ => answer.message().to_owned(),
        }
    }

    fn code(&self) -> Option<Cow<'_, str>> {
        self.database_error().and_then(DatabaseError::code)
    }

    fn database_error(&self) -> Option<&dyn DatabaseError> {
        let (Self::Unavailable { source, .. }
        | Self::Data { source, .. }
        | Self::Refused { source, .. }) = self
        else {
            return None;
        };
        let (DbErr::Conn(error) | DbErr::Exec(error) | DbErr::Query(error)) = &source.0 else {
            return None;
        };
        match error {
            RuntimeErr::SqlxError(error) => error.as_database_error(),
            RuntimeErr::Internal(_) => None,
        }
    }

    /// Classifies an error of a statement.
    pub(crate) fn classify(action: &'static str, source: DbErr) -> Self {
        let class = class(&source);
        let source = DriverError(source);
        match class {
            Class::Unavailable => Self::Unavailable { action, source },
            Class::Data => Self::Data { action, source },
            Class::Refused => Self::Refused { action, source },
        }
    }
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
            if code.len() == 5 { class::of_sqlstate(&code) } else { class::of_result_code(&code) }
        }),
        SqlxError::Io(_)
        | SqlxError::PoolTimedOut
        | SqlxError::PoolClosed
        | SqlxError::WorkerCrashed
        | SqlxError::Protocol(_) => Class::Unavailable,
        _ => Class::Refused,
    }
}
