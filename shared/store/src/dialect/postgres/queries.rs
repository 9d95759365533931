//! Queries of declarations in PostgreSQL: in a transaction that only reads, with a role that can only read datasets.

use std::time::Duration;

use futures::TryStreamExt;
use jetline_datasets::{Column, Query, Type};
use sea_orm::{
    AccessMode, ConnectionTrait, DatabaseConnection, DbBackend, DbErr, QueryResult, Statement,
    StreamTrait, TransactionTrait,
};

use super::values;
use crate::{
    Error,
    dialect::query::{is_read_as_text, name, of_query},
    statement::{execute, named},
    transaction::Transaction,
};

/// The role of queries. Roles are those of all databases of a server; its privileges are of one.
const ROLE: &str = "jetline_queries";

/// Creates the role, and lets this user take it. Others may do the same at the same time, for another database.
const CREATE_ROLE: &str = "DO $jetline$ BEGIN
         IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'jetline_queries') THEN
             BEGIN
                 CREATE ROLE jetline_queries NOLOGIN;
             EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL;
             END;
         END IF;
         -- Since PostgreSQL 16, who creates a role is a member that may not take it.
         IF NOT pg_has_role(current_user, 'jetline_queries',
                 CASE WHEN current_setting('server_version_num')::int < 160000 THEN 'MEMBER' ELSE 'SET' END) THEN
             GRANT jetline_queries TO CURRENT_USER;
         END IF;
     END $jetline$";

pub(super) async fn grant(tx: &Transaction, tables: &[String]) -> Result<(), Error> {
    execute(tx, "create the role of queries", CREATE_ROLE, []).await?;
    let usage = "DO $jetline$ BEGIN
             EXECUTE format('GRANT USAGE ON SCHEMA %I TO jetline_queries', current_schema());
         END $jetline$";
    execute(tx, "let queries use the schema", usage, []).await?;
    let tables: Vec<String> = tables.iter().map(|table| format!("{table:?}")).collect();
    let sql = format!("GRANT SELECT ON {} TO {ROLE}", tables.join(", "));
    execute(tx, "let queries read datasets", &sql, []).await?;
    tx.set_savepoint().await?;
    take_role(tx).await?;
    tx.roll_back_to_savepoint().await
}

/// Takes the role until the end of the transaction or savepoint, with the same schemas: one of them may be called like the user.
async fn take_role(tx: &impl ConnectionTrait) -> Result<(), Error> {
    execute(tx, "take the role of queries", TAKE_ROLE, []).await.map(drop)
}

/// The settings, which take effect one after the other.
const TAKE_ROLE: &str = "SELECT set_config('search_path', COALESCE(
         (SELECT string_agg(quote_ident(name), ', ') FROM unnest(current_schemas(false)) AS name), ''), true),
     set_config('standard_conforming_strings', 'on', true), set_config('role', 'jetline_queries', true)";

/// The value of a column as an SQL expression. [`check`] allows only types whose values stay what they are.
pub(super) fn column(column: &Column) -> String {
    let (name, of) = (name(column), column.column_type);
    match of {
        of if is_read_as_text(of) => format!("CAST({name} AS text)"),
        // JSON has no infinity.
        Type::Date | Type::Timestamp => format!("CASE WHEN isfinite({name}) THEN {name} END"),
        of => format!("CAST({name} AS {})", values::sql_type(of)),
    }
}

/// The types whose values can be those of a column.
const fn types(of: Type) -> &'static [&'static str] {
    match of {
        Type::Text => &["text", "character varying", "character", "name"],
        Type::Bigint => &["bigint", "integer", "smallint"],
        Type::Numeric => &["numeric", "bigint", "integer", "smallint"],
        Type::Double => &["double precision", "real", "integer", "smallint"],
        Type::Boolean => &["boolean"],
        Type::Date => &["date"],
        Type::Timestamp => &["timestamp with time zone"],
        Type::Uuid => &["uuid"],
        Type::Json => &["jsonb", "json"],
    }
}

/// Reads the types of the columns. The query itself is not run: nothing of it is joined.
pub(super) async fn check(tx: &Transaction, query: &Query) -> Result<Option<String>, Error> {
    const ACTION: &str = "check a query";
    let types_of = query.columns.iter().map(|column| format!("pg_typeof({})::text", name(column)));
    let sql = format!(
        "SELECT {} FROM (SELECT) AS one LEFT JOIN {} ON false",
        types_of.collect::<Vec<String>>().join(", "),
        of_query(query, values::placeholder)
    );
    let failed = |error| Error::classify(ACTION, error);
    let nulls = query.parameters.iter().map(|parameter| values::null(parameter.column_type));
    let statement = Statement::from_sql_and_values(DbBackend::Postgres, sql, nulls);
    tx.set_savepoint().await?;
    take_role(tx).await?;
    let row = tx.query_one_raw(named(ACTION, statement)).await;
    tx.roll_back_to_savepoint().await?;
    let row = row.map_err(failed)?;
    for (at, column) in query.columns.iter().enumerate() {
        let found: Option<String> =
            row.as_ref().map(|row| row.try_get_by_index(at)).transpose().map_err(failed)?;
        let found = found.unwrap_or_default();
        let types = types(column.column_type);
        if !types.contains(&&*found) {
            return Ok(Some(format!(
                "the column {} is of the type {found}, and is declared as {}: cast it to {}",
                column.name, column.column_type, types[0]
            )));
        }
    }
    Ok(None)
}

pub(super) async fn run(
    db: &DatabaseConnection,
    statement: Statement,
    time: Duration,
    take: &mut (dyn FnMut(QueryResult) -> Result<bool, DbErr> + Send),
) -> Result<(), DbErr> {
    let tx = db.begin_with_config(None, Some(AccessMode::ReadOnly)).await?;
    // Records are looked up by key; what a query does is not known.
    let settings = format!(
        "{TAKE_ROLE}, set_config('statement_timeout', '{}', true), set_config('enable_seqscan', 'on', true)",
        time.as_millis().max(1)
    );
    let settings = Statement::from_string(DbBackend::Postgres, settings);
    tx.execute_raw(named("limit a query", settings)).await?;
    let mut rows = tx.stream_raw(statement).await?;
    while let Some(row) = rows.try_next().await? {
        if !take(row)? {
            break;
        }
    }
    drop(rows);
    tx.rollback().await
}
