//! Differences between PostgreSQL and SQLite: locks, clocks, row security; and SQL statements with their names.

use jetline_core::Key;
use jetline_records::Table;
use sea_orm::{ConnectionTrait, DbBackend, FromQueryResult, Statement, Value};

use crate::Error;

/// The key of the advisory lock that commits hold shared; changes of the epoch and ends of objects hold it exclusively.
const EPOCH_LOCK: i64 = 0x6a65_746c_696e_6501;

/// The key of the advisory lock for registering objects: their numbers become visible in order.
const REGISTRATION_LOCK: i64 = 0x6a65_746c_696e_6502;

/// An advisory lock and its mode.
#[derive(Clone, Copy)]
pub(crate) enum Lock {
    /// For commits.
    EpochShared,
    /// For changes of what commits rely on.
    EpochExclusive,
    /// For registering objects; exclusive.
    Registration,
}

/// Takes a lock until the end of the transaction. In SQLite writing transactions exclude each other anyway.
pub(crate) async fn lock(tx: &impl ConnectionTrait, lock: Lock) -> Result<(), Error> {
    if tx.get_database_backend() == DbBackend::Sqlite {
        return Ok(());
    }
    let (function, key) = match lock {
        Lock::EpochShared => ("pg_advisory_xact_lock_shared", EPOCH_LOCK),
        Lock::EpochExclusive => ("pg_advisory_xact_lock", EPOCH_LOCK),
        Lock::Registration => ("pg_advisory_xact_lock", REGISTRATION_LOCK),
    };
    execute(tx, "lock", &format!("SELECT {function}($1)"), [key.into()]).await.map(drop)
}

/// The database system, as OpenTelemetry's conventions for databases call it.
pub(crate) fn system(db: &impl ConnectionTrait) -> &'static str {
    match db.get_database_backend() {
        DbBackend::Postgres => "postgresql",
        _ => "sqlite",
    }
}

/// The start time of the server, as an SQL text expression. It changes with a restore or a failover.
pub(crate) fn server_started_at(db: &impl ConnectionTrait) -> &'static str {
    match db.get_database_backend() {
        DbBackend::Postgres => "pg_postmaster_start_time()::text",
        _ => "''",
    }
}

/// Whether an epoch is in force, as an SQL expression; `epoch` is a table or an alias. A restart of the server may have
/// undone commits, and a replay ends the epoch.
pub(crate) fn in_force(db: &impl ConnectionTrait, epoch: &str) -> String {
    let now = server_started_at(db);
    format!("({epoch}.server_started_at = {now} AND NOT {epoch}.replayed)")
}

/// Milliseconds since 1970 by the database's clock, as an SQL expression: the clocks of fetchers may differ.
pub(crate) fn milliseconds(db: &impl ConnectionTrait) -> &'static str {
    match db.get_database_backend() {
        DbBackend::Postgres => "(extract(epoch FROM clock_timestamp()) * 1000)::bigint",
        _ => "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)",
    }
}

/// Whether an object is to be read and has no valid lease, as an SQL expression.
pub(crate) fn is_unleased(db: &impl ConnectionTrait) -> String {
    let now = milliseconds(db);
    format!("(state = 'registered' OR (state = 'reading' AND lease_until < {now}))")
}

/// Whether a table has row security policies.
pub(crate) async fn has_row_security(
    db: &impl ConnectionTrait,
    table: &Table,
) -> Result<bool, Error> {
    if db.get_database_backend() == DbBackend::Sqlite {
        return Ok(false);
    }
    let sql = "SELECT 1 FROM pg_class WHERE oid = to_regclass($1) AND relrowsecurity";
    let name = format!("\"{}\"", table.name);
    let found = execute(db, "read the table's policies", sql, [name.into()]).await?;
    Ok(found > 0)
}

/// A key as a parameter.
pub(crate) fn value(key: &Key) -> Value {
    match key {
        Key::Int(id) => (*id).into(),
        Key::Text(id) => id.as_str().into(),
    }
}

/// `count` placeholders `$1, $2, …`, beginning with `first`.
pub(crate) fn placeholders(first: usize, count: usize) -> String {
    let numbers: Vec<String> = (first..first + count).map(|n| format!("${n}")).collect();
    numbers.join(", ")
}

/// A statement with its name as a comment, by which `pg_stat_statements` and logs of the server show it.
pub(crate) fn named(action: &str, mut statement: Statement) -> Statement {
    statement.sql.insert_str(0, &format!("/* {action} */ "));
    statement
}

/// Runs a statement and returns the number of affected rows.
pub(crate) async fn execute(
    db: &impl ConnectionTrait,
    action: &'static str,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<u64, Error> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    execute_built(db, action, statement).await
}

/// Runs a statement of sea-orm's query builder and returns the number of affected rows.
pub(crate) async fn execute_built(
    db: &impl ConnectionTrait,
    action: &'static str,
    statement: Statement,
) -> Result<u64, Error> {
    db.execute_raw(named(action, statement))
        .await
        .map(|done| done.rows_affected())
        .map_err(|error| Error::classify(action, error))
}

/// Runs a query and returns its rows.
pub(crate) async fn query<T: FromQueryResult>(
    db: &impl ConnectionTrait,
    action: &'static str,
    sql: &str,
    values: impl IntoIterator<Item = Value>,
) -> Result<Vec<T>, Error> {
    let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
    query_built(db, action, statement).await
}

/// Runs a query of sea-orm's query builder and returns its rows.
pub(crate) async fn query_built<T: FromQueryResult>(
    db: &impl ConnectionTrait,
    action: &'static str,
    statement: Statement,
) -> Result<Vec<T>, Error> {
    let failed = |error| Error::classify(action, error);
    let rows = db.query_all_raw(named(action, statement)).await.map_err(failed)?;
    rows.iter().map(|row| T::from_query_result(row, "").map_err(failed)).collect()
}
