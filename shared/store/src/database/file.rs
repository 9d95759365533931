//! The file of an SQLite database: whether it can be used at all, and how it is left behind.

use std::{fs, path::Path, time::Duration};

use sea_orm::{
    DatabaseConnection, DbBackend, DbErr,
    sqlx::{Connection, Sqlite, pool::PoolOptions},
};
use tokio::time::timeout;

use super::begin;
use crate::{Error, backend::execute, error::sqlite_code};

/// How long it may take until the last connection is closed and the log is written back.
const CLOSING: Duration = Duration::from_secs(20);

// SQLite's primary result codes.
const PERMISSION: u32 = 3;
const READ_ONLY: u32 = 8;
const CORRUPT: u32 = 11;
const CANNOT_OPEN: u32 = 14;
const NOT_A_DATABASE: u32 = 26;

/// Closes a connection that is given back in the middle of a transaction.
///
/// Where a disk is full, SQLite itself ends the transaction, and a rollback fails. The driver then takes the connection for
/// one that is still in it: what it would call a transaction from then on is only a savepoint, which locks everybody else
/// out and is never committed.
pub(super) fn without_open_transactions(pool: PoolOptions<Sqlite>) -> PoolOptions<Sqlite> {
    pool.after_release(|connection, _| {
        Box::pin(async move {
            // A rollback that was only sent has been made when this is answered.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// Whether the file can be written, tried without writing: else the ledger would wait for ever for a right that it never
/// gets.
pub(super) async fn check(db: &DatabaseConnection, url: &str) -> Result<(), Error> {
    match write_nothing(db).await {
        Err(Error::Unavailable { source, .. } | Error::Refused { source, .. }) => {
            refusal(url, source).map_or_else(|_| Ok(()), Err)
        }
        // Whatever else is wrong shows in what is done next.
        _ => Ok(()),
    }
}

/// On a file that can only be read, a transaction begins all the same, and the first write in it fails.
async fn write_nothing(db: &DatabaseConnection) -> Result<(), Error> {
    const ACTION: &str = "write to the database";
    let transaction = begin(db).await?;
    execute(&transaction, ACTION, "PRAGMA user_version = 0", []).await?;
    let undone = transaction.rollback().await;
    undone.map_err(|error| Error::of(ACTION, error))
}

/// The error for a file that waiting does not make usable; the error as it was where that is not so.
pub(super) fn refusal(url: &str, source: DbErr) -> Result<Error, DbErr> {
    let code = sqlite_code(&source);
    let refused = super::file(url).and_then(|path| Some((reason(&path, code?)?, path)));
    let Some((reason, path)) = refused else {
        return Err(source);
    };
    let path = path.display().to_string();
    Ok(Error::File {
        path,
        reason,
        source,
    })
}

fn reason(path: &Path, code: u32) -> Option<&'static str> {
    let directory = path.parent().filter(|parent| *parent != Path::new(""));
    Some(match code {
        NOT_A_DATABASE => "it is not an SQLite database",
        CORRUPT => "it is damaged",
        PERMISSION | READ_ONLY | CANNOT_OPEN if path.is_dir() => "it is a directory",
        PERMISSION | READ_ONLY | CANNOT_OPEN if directory.is_some_and(|path| !path.is_dir()) => {
            "its directory does not exist, or may not be entered"
        }
        PERMISSION | READ_ONLY | CANNOT_OPEN => {
            "it cannot be written: look at the permissions of the file, of its directory and of the files beside it that \
             end in -wal and -shm, and whether the file system is read-only"
        }
        _ => return None,
    })
}

/// Ends all connections to an SQLite database, with which it is written back into its one file. PostgreSQL needs no such
/// end.
pub async fn close(db: &DatabaseConnection) {
    if db.get_database_backend() != DbBackend::Sqlite {
        return;
    }
    let pool = db.get_sqlite_connection_pool();
    if timeout(CLOSING, pool.close()).await.is_err() {
        tracing::warn!(limit = ?CLOSING, "the database was not closed in time");
    }
    let options = pool.connect_options();
    let mut log = options.get_filename().as_os_str().to_owned();
    log.push("-wal");
    if fs::metadata(&log).is_ok_and(|log| log.len() > 0) {
        tracing::warn!(
            file = %Path::new(&log).display(),
            "a part of the database stands in this file and belongs to it: another program has the database open, \
             or it cannot be written"
        );
    }
}
