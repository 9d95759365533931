//! SQL statements with their names.

use jetline_core::Key;
use sea_orm::{ConnectionTrait, FromQueryResult, Statement, Value};

use crate::Error;

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
