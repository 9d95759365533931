//! Queries of declarations in SQLite: with a connection of their own, which cannot write.

use std::time::{Duration, Instant};

use futures::TryStreamExt;
use jetline_datasets::{Column, Query, Type};
use sea_orm::{
    DatabaseConnection, DbErr, QueryResult, SqlxSqliteConnector, Statement, StreamTrait,
    sqlx::sqlite::SqlitePoolOptions,
};

use super::values;
use crate::{
    Error,
    dialect::query::{name, of_query},
    statement::execute,
    transaction::Transaction,
};

/// Number of instructions of SQLite's virtual machine between two looks at the clock: less than a millisecond.
const INSTRUCTIONS: i32 = 10_000;

/// SQLite has types of values, not of columns: an integer is also a numeric, a double or a text.
pub(super) fn column(column: &Column) -> String {
    let name = name(column);
    match column.column_type {
        Type::Double => format!("CAST({name} AS REAL)"),
        Type::Bigint | Type::Boolean => name,
        _ => format!("CAST({name} AS TEXT)"),
    }
}

pub(super) async fn check(tx: &Transaction, query: &Query) -> Result<Option<String>, Error> {
    let columns: Vec<String> = query.columns.iter().map(name).collect();
    let relation = of_query(query, values::placeholder);
    let sql = format!("SELECT {} FROM {relation} LIMIT 0", columns.join(", "));
    let nulls = query.parameters.iter().map(|_| sea_orm::Value::String(None));
    execute(tx, "forbid writing", "PRAGMA query_only = on", []).await?;
    let checked = execute(tx, "check a query", &sql, nulls).await;
    execute(tx, "allow writing", "PRAGMA query_only = off", []).await?;
    checked.map(|_| None)
}

pub(super) async fn run(
    db: &DatabaseConnection,
    statement: Statement,
    time: Duration,
    take: &mut (dyn FnMut(QueryResult) -> Result<bool, DbErr> + Send),
) -> Result<(), DbErr> {
    let options = db.get_sqlite_connection_pool().connect_options();
    let options = (*options).clone().create_if_missing(false).read_only(true);
    let options = options.pragma("query_only", "on");
    let deadline = Instant::now() + time;
    let pool = SqlitePoolOptions::new().max_connections(1).after_connect(move |connection, _| {
        Box::pin(async move {
            let mut handle = connection.lock_handle().await?;
            handle.set_progress_handler(INSTRUCTIONS, move || Instant::now() < deadline);
            Ok(())
        })
    });
    let reader = SqlxSqliteConnector::from_sqlx_sqlite_pool(pool.connect_lazy_with(options));
    let result = rows(&reader, statement, take).await;
    reader.close().await?;
    result
}

async fn rows(
    reader: &DatabaseConnection,
    statement: Statement,
    take: &mut (dyn FnMut(QueryResult) -> Result<bool, DbErr> + Send),
) -> Result<(), DbErr> {
    let mut rows = reader.stream_raw(statement).await?;
    while let Some(row) = rows.try_next().await? {
        if !take(row)? {
            break;
        }
    }
    Ok(())
}
