//! Where PostgreSQL and SQLite say the same thing in other words.

use jetline_records::Table;
use sea_orm::{ConnectionTrait, DbBackend, Statement, Value};

use crate::Error;

/// The advisory lock that commits share and that whoever changes the epoch or ends objects holds alone.
const EPOCH_LOCK: i64 = 0x6a65_746c_696e_6501;

/// The advisory lock of those who register objects: numbers become visible in their order.
const REGISTRATION_LOCK: i64 = 0x6a65_746c_696e_6502;

/// Who else may hold a lock.
#[derive(Clone, Copy)]
pub(crate) enum Lock {
    /// Commits: any number at a time.
    EpochShared,
    /// Whoever changes what commits rely on: alone.
    EpochExclusive,
    /// Whoever registers objects: alone.
    Registration,
}

/// Takes a lock until the transaction ends. In SQLite every writing transaction is alone anyway.
pub(crate) async fn lock(tx: &impl ConnectionTrait, lock: Lock) -> Result<(), Error> {
    if tx.get_database_backend() == DbBackend::Sqlite {
        return Ok(());
    }
    let (function, key) = match lock {
        Lock::EpochShared => ("pg_advisory_xact_lock_shared", EPOCH_LOCK),
        Lock::EpochExclusive => ("pg_advisory_xact_lock", EPOCH_LOCK),
        Lock::Registration => ("pg_advisory_xact_lock", REGISTRATION_LOCK),
    };
    execute(tx, "lock", &format!("SELECT {function}($1)"), [key.into()])
        .await
        .map(drop)
}

/// When the server started, as an SQL text expression. A server that was restored or failed over shows another.
pub(crate) fn server_started_at(db: &impl ConnectionTrait) -> &'static str {
    match db.get_database_backend() {
        DbBackend::Postgres => "pg_postmaster_start_time()::text",
        _ => "''",
    }
}

/// Milliseconds since 1970 by the database's clock, as an SQL expression: fetchers' clocks need not agree.
pub(crate) fn milliseconds(db: &impl ConnectionTrait) -> &'static str {
    match db.get_database_backend() {
        DbBackend::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        _ => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    }
}

/// Whether an object is to be read and nobody does so, as an SQL expression.
pub(crate) fn nobody_reads(db: &impl ConnectionTrait) -> String {
    let now = milliseconds(db);
    format!("(state = 'registered' OR (state = 'reading' AND lease_until < {now}))")
}

/// Whether policies say which rows may be written.
pub(crate) async fn has_row_security(
    db: &impl ConnectionTrait,
    table: &Table,
) -> Result<bool, Error> {
    if db.get_database_backend() == DbBackend::Sqlite {
        return Ok(false);
    }
    let sql = "SELECT 1 AS one FROM pg_class WHERE oid = to_regclass($1) AND relrowsecurity";
    let name = format!("\"{}\"", table.name);
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, [name.into()]);
    let found = db.query_all_raw(statement).await;
    let found = found.map_err(|error| Error::of("read the table's policies", error))?;
    Ok(!found.is_empty())
}

/// `$1, $2, …` from `first` on.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let numbers: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    numbers.join(", ")
}

/// Runs a statement and returns how many rows it changed.
pub(crate) async fn execute(
    db: &impl ConnectionTrait,
    action: &'static str,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, Error> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    db.execute_raw(statement)
        .await
        .map(|done| done.rows_affected())
        .map_err(|error| Error::of(action, error))
}

/// Runs a query and reads its rows.
pub(crate) async fn query<T: sea_orm::FromQueryResult>(
    db: &impl ConnectionTrait,
    action: &'static str,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<T>, Error> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    let rows = db
        .query_all_raw(statement)
        .await
        .map_err(|error| Error::of(action, error))?;
    rows.iter()
        .map(|row| T::from_query_result(row, "").map_err(|error| Error::of(action, error)))
        .collect()
}
