//! The file of an SQLite database: checked when it is opened, checkpointed when it is closed.

use std::{fs, path::Path, time::Duration};

use sea_orm::{
    DatabaseConnection, DbErr,
    sqlx::{Connection, Sqlite, pool::PoolOptions},
};
use tokio::time::timeout;

use super::primary_code;
use crate::{
    database::url,
    error::{DriverError, Error},
    statement::execute,
    transaction::Transaction,
};

/// Timeout for closing all connections, with which the WAL is checkpointed.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(20);

// SQLite's primary result codes.
const PERMISSION: u32 = 3;
const READ_ONLY: u32 = 8;
const CORRUPT: u32 = 11;
const CANNOT_OPEN: u32 = 14;
const NOT_A_DATABASE: u32 = 26;

/// Closes a connection that returns to the pool within a transaction.
///
/// When the disk is full, SQLite itself ends the transaction, and a rollback fails. The driver then believes that the
/// connection is still in a transaction: from then on it would begin only savepoints, which block all other writers and
/// are never committed.
pub(crate) fn without_open_transactions(pool: PoolOptions<Sqlite>) -> PoolOptions<Sqlite> {
    pool.after_release(|connection, _| {
        Box::pin(async move {
            // When the ping is answered, a rollback that was queued before has run.
            connection.ping().await?;
            Ok(!connection.is_in_transaction())
        })
    })
}

/// Checks that the file is writable, without writing: otherwise a missing permission would be retried forever.
pub(super) async fn check(db: &DatabaseConnection, url: &str) -> Result<(), Error> {
    match write_nothing(db).await {
        Err(Error::Unavailable { source, .. } | Error::Refused { source, .. }) => {
            refusal(url, source.0).map_or_else(|_| Ok(()), Err)
        }
        // Other errors will occur again in the next statement.
        _ => Ok(()),
    }
}

/// On a read-only file, `BEGIN` succeeds, and the first write fails.
async fn write_nothing(db: &DatabaseConnection) -> Result<(), Error> {
    const ACTION: &str = "write to the database";
    let transaction = Transaction::begin(db).await?;
    execute(&transaction, ACTION, "PRAGMA user_version = 0", []).await?;
    transaction.roll_back(ACTION).await
}

/// The permanent error of a file that cannot be used; any other error is returned as it was.
pub(crate) fn refusal(url: &str, source: DbErr) -> Result<Error, DbErr> {
    let code = primary_code(&source);
    let refused = url::file(url).and_then(|path| Some((reason(&path, code?)?, path)));
    let Some((reason, path)) = refused else {
        return Err(source);
    };
    let path = path.display().to_string();
    Ok(Error::File { path, reason, source: DriverError(source) })
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
            "it cannot be written: check the permissions of the file, of its directory and of the files beside it that \
             end in -wal and -shm, and whether the file system is read-only"
        }
        _ => return None,
    })
}

/// Closes all connections, which checkpoints the WAL into the one file.
pub(super) async fn close(db: &DatabaseConnection) {
    let pool = db.get_sqlite_connection_pool();
    if timeout(CLOSE_TIMEOUT, pool.close()).await.is_err() {
        tracing::warn!(timeout = ?CLOSE_TIMEOUT, "close database timed out");
    }
    let options = pool.connect_options();
    let mut wal = options.get_filename().as_os_str().to_owned();
    wal.push("-wal");
    if fs::metadata(&wal).is_ok_and(|wal| wal.len() > 0) {
        tracing::warn!(
            file = %Path::new(&wal).display(),
            "checkpoint of the write-ahead log incomplete, the file is part of the database: another program has the \
             database open, or it cannot be written"
        );
    }
}
