//! PostgreSQL.

mod copy;
mod locks;
pub(crate) mod one_by_one;
mod pooler;
mod queries;
pub(crate) mod tls;
mod upsert;
mod values;

use std::{str::FromStr, sync::Arc, time::Duration};

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use jetline_core::{Key, ObjectVersion};
use jetline_datasets::{self as datasets, Column, Dataset, Query, Type};
use sea_orm::{
    DatabaseConnection, DbErr, QueryResult, RuntimeErr, Statement, Value,
    sea_query::ArrayType,
    sqlx::{Connection, PgConnection, postgres::PgConnectOptions},
};
use tokio::time::timeout;

use crate::{
    dialect::interface::{Dialect, Lock, Scalar},
    error::Error,
    statement::{execute, value},
    transaction::Transaction,
    upsert::{UpsertRow, Upserted},
};

/// Maximum total bytes of root, key and `ETag`: an entry of a B-tree has at most 2,704 bytes.
const MAX_INDEXED_BYTES: usize = 2_500;

/// How long a connection at start may take before only the pool waits for it.
const REACH_TIMEOUT: Duration = Duration::from_secs(5);

pub(crate) struct Postgres;

#[async_trait]
impl Dialect for Postgres {
    fn system(&self) -> &'static str {
        "postgresql"
    }

    fn database_name(&self) -> &'static str {
        "current_database()::text"
    }

    fn instance(&self) -> &'static str {
        "(pg_postmaster_start_time()::text || ' ' || pg_relation_filepath('epoch'))"
    }

    /// A crash empties an unlogged table. After that of a backend, the server recovers with the same start time.
    fn survived(&self, epoch: &str) -> String {
        format!("EXISTS (SELECT FROM epoch_unlogged note WHERE note.id = {epoch}.id)")
    }

    fn note_epoch(&self) -> Option<&'static str> {
        Some(
            "INSERT INTO epoch_unlogged (slot, id) VALUES (1, $1)
             ON CONFLICT (slot) DO UPDATE SET id = excluded.id",
        )
    }

    fn milliseconds(&self) -> &'static str {
        "(extract(epoch FROM clock_timestamp()) * 1000)::bigint"
    }

    fn skip_locked(&self) -> &'static str {
        "FOR UPDATE SKIP LOCKED"
    }

    fn for_update(&self) -> &'static str {
        "FOR UPDATE"
    }

    fn row_address(&self) -> &'static str {
        "ctid"
    }

    fn commit_durably(&self) -> Option<&'static str> {
        Some(
            "SELECT set_config('synchronous_commit', 'on', TRUE)
             WHERE current_setting('synchronous_commit') = 'off'",
        )
    }

    /// With synchronous replicas, a failover to one of them loses no commit that it has confirmed: that stays.
    fn commit_without_waiting(&self) -> Option<&'static str> {
        Some(
            "SELECT set_config('synchronous_commit', 'off', TRUE)
             WHERE current_setting('synchronous_standby_names') = ''",
        )
    }

    /// Without reading them, which a hot standby refuses.
    fn find_tables(&self) -> &'static str {
        "SELECT 'epoch_unlogged'::regclass, 'listed_objects'::regclass"
    }

    fn is_any_text(&self, number: usize) -> String {
        format!("= ANY(${number}::text[])")
    }

    fn texts(&self, texts: Vec<String>) -> Value {
        let texts = texts.into_iter().map(Value::from);
        Value::Array(ArrayType::String, Some(Box::new(texts.collect())))
    }

    fn unnested(&self, first: usize, types: &[Scalar]) -> String {
        values::unnested(first, types)
    }

    fn unnestable(&self, columns: Vec<Vec<Value>>) -> Vec<Value> {
        columns.into_iter().map(values::unnestable).collect()
    }

    fn octets(&self, column: &str) -> String {
        format!("octet_length({column})")
    }

    fn column_octets(&self, column: &Column) -> Option<String> {
        let is_large = matches!(column.column_type, Type::Text | Type::Json);
        is_large.then(|| format!("octet_length({})", values::select(column)))
    }

    fn select(&self, column: &Column) -> String {
        values::select(column)
    }

    fn version(&self, column: Option<&Column>) -> String {
        column.map_or("0::bigint".to_owned(), values::version)
    }

    fn parameter(&self, of: Type, value: datasets::Value) -> Value {
        values::parameter(of, value)
    }

    fn placeholder(&self, number: usize, of: Type) -> String {
        values::placeholder(number, of)
    }

    fn read(&self, row: &QueryResult, at: usize, of: Type) -> Result<datasets::Value, DbErr> {
        values::read(row, at, of)
    }

    fn is_any_key(&self, dataset: &Dataset) -> String {
        format!("= ANY({})", values::keys(dataset))
    }

    fn requested_keys(&self, dataset: &Dataset, place: &str) -> String {
        let keys = values::keys(dataset);
        format!("unnest({keys}) WITH ORDINALITY AS requested (jetline_key, {place}) JOIN")
    }

    fn keys(&self, dataset: &Dataset, keys: Vec<Key>) -> Result<Value, DbErr> {
        let of = match dataset.key().column_type {
            Type::Bigint => ArrayType::BigInt,
            _ => ArrayType::String,
        };
        Ok(Value::Array(of, Some(Box::new(keys.iter().map(value).collect()))))
    }

    fn sql_type(&self, of: Type) -> &'static str {
        match of {
            Type::Text => "text COLLATE \"C\"",
            of => values::sql_type(of),
        }
    }

    fn own_types(&self) -> [&'static str; 3] {
        ["bytea", "bigint", "timestamptz"]
    }

    fn table_columns(&self) -> &'static str {
        "SELECT CAST(attname AS text) AS name, attnotnull AS is_required FROM pg_attribute
             WHERE attrelid = to_regclass(quote_ident($1)) AND attnum > 0 AND NOT attisdropped"
    }

    fn drop_not_null(&self, table: &str, column: &str) -> Option<String> {
        Some(format!("ALTER TABLE {table:?} ALTER COLUMN {column:?} DROP NOT NULL"))
    }

    fn required_columns(&self, dataset: &Dataset) -> (&'static str, String) {
        let sql = "SELECT CAST(attname AS text) AS name FROM pg_attribute
             WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped AND attnotnull
                 AND NOT atthasdef AND attidentity = ''";
        (sql, format!("\"{}\"", dataset.name))
    }

    fn skip_reason(&self, version: &ObjectVersion) -> Option<&'static str> {
        let ObjectVersion { root, key, etag, .. } = version;
        if [root, key, etag].iter().any(|text| text.contains('\0')) {
            return Some("its key has U+0000, which no text of PostgreSQL can hold");
        }
        let too_long = root.len() + key.len() + etag.len() > MAX_INDEXED_BYTES;
        too_long.then_some("its key is longer than an index of PostgreSQL can hold")
    }

    fn keepable_connections(&self, db: &DatabaseConnection) -> u32 {
        db.get_postgres_connection_pool().options().get_max_connections()
    }

    async fn lock(&self, tx: &Transaction, lock: Lock) -> Result<(), Error> {
        let (function, key) = locks::call(lock);
        execute(tx, "lock", &format!("SELECT {function}($1)"), [key.into()]).await.map(drop)
    }

    async fn check(&self, db: &DatabaseConnection, _: &str) -> Result<(), Error> {
        pooler::check(db).await?;
        pooler::check_options(db).await
    }

    async fn check_pooler(&self, db: &DatabaseConnection) -> Result<(), Error> {
        pooler::check(db).await
    }

    async fn close(&self, _: &DatabaseConnection) {}

    /// A table that is dropped meanwhile has no size.
    fn table_bytes(&self, names: &str) -> String {
        format!(
            "SELECT CAST(relname AS TEXT) AS name, COALESCE(pg_total_relation_size(oid), 0) AS bytes FROM pg_class
             WHERE relkind = 'r' AND relnamespace = to_regnamespace(current_schema()) AND relname IN ({names})"
        )
    }

    async fn has_row_security(&self, tx: &Transaction, dataset: &Dataset) -> Result<bool, Error> {
        let sql = "SELECT 1 FROM pg_class WHERE oid = to_regclass($1) AND relrowsecurity";
        let name = format!("\"{}\"", dataset.name);
        let found = execute(tx, "read the table's policies", sql, [name.into()]).await?;
        Ok(found > 0)
    }

    async fn upsert(
        &self,
        tx: &Transaction,
        dataset: &Dataset,
        rows: Vec<(usize, UpsertRow)>,
        now: DateTime<Utc>,
        rewrite: bool,
        upserted: &mut Upserted,
    ) -> Result<(), Error> {
        upsert::upsert(tx, dataset, rows, now, rewrite, upserted).await
    }

    async fn insert_history(
        &self,
        tx: &Transaction,
        dataset: &Dataset,
        rows: Vec<UpsertRow>,
        now: DateTime<Utc>,
        conflict: &str,
    ) -> Result<(), Error> {
        upsert::insert_history(tx, dataset, rows, now, conflict).await
    }

    async fn upsert_nothing(
        &self,
        tx: &Transaction,
        dataset: &Dataset,
        row: UpsertRow,
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        upsert::insert_nothing(tx, dataset, row, now).await
    }

    fn null(&self, of: Type) -> Value {
        values::null(of)
    }

    fn query_column(&self, column: &Column) -> String {
        queries::column(column)
    }

    async fn grant_to_queries(&self, tx: &Transaction, tables: &[String]) -> Result<(), Error> {
        queries::grant(tx, tables).await
    }

    async fn check_query(&self, tx: &Transaction, query: &Query) -> Result<Option<String>, Error> {
        queries::check(tx, query).await
    }

    async fn run_query(
        &self,
        db: &DatabaseConnection,
        statement: Statement,
        time: Duration,
        take: &mut (dyn FnMut(QueryResult) -> Result<bool, DbErr> + Send),
    ) -> Result<(), DbErr> {
        queries::run(db, statement, time, take).await
    }

    fn catches_errors(&self) -> bool {
        true
    }

    fn trigger_ends_transaction(&self) -> bool {
        false
    }
}

/// Fails with the cause where PostgreSQL cannot be connected to: a pool would try until its timeout, and not say why.
pub(crate) async fn reach(url: &str) -> Result<(), Error> {
    let Ok(options) = PgConnectOptions::from_str(url) else { return Ok(()) };
    match timeout(REACH_TIMEOUT, PgConnection::connect_with(&options)).await {
        Ok(Ok(connection)) => {
            // What it sends when it ends need not arrive.
            let _ = connection.close().await;
            Ok(())
        }
        Ok(Err(error)) => {
            let error = DbErr::Conn(RuntimeErr::SqlxError(Arc::new(error)));
            Err(refusal(&error).unwrap_or_else(|| Error::classify("connect", error)))
        }
        // The pool has a longer timeout.
        Err(_) => Ok(()),
    }
}

pub(crate) fn refusal(error: &DbErr) -> Option<Error> {
    tls::refusal(error).or_else(|| pooler::refusal(error))
}
