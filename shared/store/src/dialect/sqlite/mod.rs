//! SQLite, where only one transaction at a time writes.

pub(crate) mod file;
mod queries;
mod upsert;
mod values;

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use jetline_core::{Key, ObjectVersion};
use jetline_datasets::{self as datasets, Column, Dataset, Query, Type};
use sea_orm::{DatabaseConnection, DbErr, QueryResult, RuntimeErr, Statement, Value};

use crate::{
    dialect::interface::{Dialect, Lock, Scalar},
    error::Error,
    error::class::primary,
    transaction::Transaction,
    upsert::{UpsertRow, Upserted},
};

pub(crate) struct Sqlite;

#[async_trait]
impl Dialect for Sqlite {
    fn system(&self) -> &'static str {
        "sqlite"
    }

    fn database_name(&self) -> &'static str {
        "'sqlite'"
    }

    fn instance(&self) -> &'static str {
        "''"
    }

    fn milliseconds(&self) -> &'static str {
        "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER)"
    }

    fn skip_locked(&self) -> &'static str {
        ""
    }

    fn for_update(&self) -> &'static str {
        ""
    }

    fn row_address(&self) -> &'static str {
        "rowid"
    }

    fn table_bytes(&self, names: &str) -> String {
        format!(
            "SELECT 'all' AS name, page_count * page_size AS bytes FROM pragma_page_count, pragma_page_size
             WHERE 'all' IN ({names})"
        )
    }

    /// The level cannot be changed in a transaction: a crash of the machine may lose the last ones.
    fn commit_durably(&self) -> Option<&'static str> {
        None
    }

    fn commit_without_waiting(&self) -> Option<&'static str> {
        None
    }

    fn find_tables(&self) -> &'static str {
        "SELECT COUNT(*) FROM listed_objects WHERE 1 = 0"
    }

    fn survived(&self, _epoch: &str) -> String {
        "TRUE".to_owned()
    }

    fn note_epoch(&self) -> Option<&'static str> {
        None
    }

    fn is_any_text(&self, number: usize) -> String {
        format!("IN (SELECT value FROM json_each(${number}))")
    }

    fn texts(&self, texts: Vec<String>) -> Value {
        serde_json::Value::from(texts).to_string().into()
    }

    fn unnested(&self, first: usize, types: &[Scalar]) -> String {
        values::unnested(first, types)
    }

    fn unnestable(&self, columns: Vec<Vec<Value>>) -> Vec<Value> {
        vec![values::unnestable(columns)]
    }

    /// Of a text, `length` would count characters.
    fn octets(&self, column: &str) -> String {
        format!("length(CAST({column} AS BLOB))")
    }

    /// A column may hold a value of any type.
    fn column_octets(&self, column: &Column) -> Option<String> {
        Some(self.octets(&format!("{:?}", column.name)))
    }

    fn select(&self, column: &Column) -> String {
        format!("{:?}", column.name)
    }

    fn version(&self, column: Option<&Column>) -> String {
        column.map_or("0".to_owned(), values::version)
    }

    fn parameter(&self, _: Type, value: datasets::Value) -> Value {
        values::parameter(value)
    }

    fn placeholder(&self, number: usize, of: Type) -> String {
        values::placeholder(number, of)
    }

    fn read(&self, row: &QueryResult, at: usize, of: Type) -> Result<datasets::Value, DbErr> {
        values::read(row, at, of)
    }

    fn is_any_key(&self, _: &Dataset) -> String {
        "IN (SELECT value FROM json_each($1))".to_owned()
    }

    fn requested_keys(&self, _: &Dataset, place: &str) -> String {
        let keys = "SELECT value AS jetline_key, key + 1";
        format!("({keys} AS {place} FROM json_each($1)) AS requested CROSS JOIN")
    }

    /// There are no arrays to bind.
    fn keys(&self, _: &Dataset, keys: Vec<Key>) -> Result<Value, DbErr> {
        let ids: Vec<serde_json::Value> = keys
            .into_iter()
            .map(|key| match key {
                Key::Int(id) => id.into(),
                Key::Text(id) => id.into(),
            })
            .collect();
        let text = serde_json::to_string(&ids).map_err(|error| DbErr::Json(error.to_string()))?;
        Ok(text.into())
    }

    fn sql_type(&self, of: Type) -> &'static str {
        match of {
            Type::Bigint => "integer",
            Type::Double => "double",
            Type::Boolean => "boolean",
            Type::Text | Type::Numeric | Type::Date | Type::Timestamp | Type::Uuid | Type::Json => {
                "text"
            }
        }
    }

    fn own_types(&self) -> [&'static str; 3] {
        ["blob", "integer", "timestamp_with_timezone_text"]
    }

    fn table_columns(&self) -> &'static str {
        "SELECT name, \"notnull\" AS is_required FROM pragma_table_info($1)"
    }

    fn drop_not_null(&self, _: &str, _: &str) -> Option<String> {
        None
    }

    fn required_columns(&self, dataset: &Dataset) -> (&'static str, String) {
        let sql = "SELECT name FROM pragma_table_info($1) WHERE \"notnull\" = 1 AND dflt_value IS NULL AND pk = 0";
        (sql, dataset.name.clone())
    }

    fn skip_reason(&self, _: &ObjectVersion) -> Option<&'static str> {
        None
    }

    fn keepable_connections(&self, _: &DatabaseConnection) -> u32 {
        0
    }

    /// Writing transactions exclude each other anyway.
    async fn lock(&self, _: &Transaction, _: Lock) -> Result<(), Error> {
        Ok(())
    }

    async fn check(&self, db: &DatabaseConnection, url: &str) -> Result<(), Error> {
        file::check(db, url).await
    }

    async fn check_pooler(&self, _: &DatabaseConnection) -> Result<(), Error> {
        Ok(())
    }

    async fn close(&self, db: &DatabaseConnection) {
        file::close(db).await;
    }

    async fn has_row_security(&self, _: &Transaction, _: &Dataset) -> Result<bool, Error> {
        Ok(false)
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

    fn null(&self, _: Type) -> Value {
        values::parameter(datasets::Value::Null)
    }

    fn query_column(&self, column: &Column) -> String {
        queries::column(column)
    }

    async fn grant_to_queries(&self, _: &Transaction, _: &[String]) -> Result<(), Error> {
        Ok(())
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
        false
    }

    fn trigger_ends_transaction(&self) -> bool {
        true
    }
}

/// The primary result code of an error, if it has one.
fn primary_code(error: &DbErr) -> Option<u32> {
    let (DbErr::Conn(RuntimeErr::SqlxError(error))
    | DbErr::Exec(RuntimeErr::SqlxError(error))
    | DbErr::Query(RuntimeErr::SqlxError(error))) = error
    else {
        return None;
    };
    primary(&error.as_database_error()?.code()?)
}
