//! What differs between PostgreSQL and SQLite.

use std::time::Duration;

use async_trait::async_trait;
use chrono::{DateTime, Utc};
use jetline_core::{Key, ObjectVersion};
use jetline_datasets::{self as datasets, Column, Dataset, Query, Type};
use sea_orm::{DatabaseConnection, DbErr, QueryResult, Statement, Value};

use crate::{
    error::Error,
    transaction::Transaction,
    upsert::{UpsertRow, Upserted},
};

/// An advisory lock and its mode.
#[derive(Clone, Copy)]
pub(crate) enum Lock {
    /// For commits.
    EpochShared,
    /// For changes of what commits rely on.
    EpochExclusive,
    /// For registering objects, whose numbers become visible in order; exclusive.
    Registration,
    /// For folding changes into deliveries, in the order of their commits; exclusive.
    Fold,
}

/// The type of a column of the ledger's own tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scalar {
    Integer,
    NullableInteger,
    Text,
    /// Not the empty text.
    NullableText,
    Bytes,
    NullableBytes,
}

/// What statements and connections of a database need.
#[async_trait]
pub(crate) trait Dialect: Sync {
    /// The database system, as OpenTelemetry's conventions for databases call it.
    fn system(&self) -> &'static str;

    /// The name of the database, as an SQL text expression.
    fn database_name(&self) -> &'static str;

    /// What changes when commits may have been undone, as an SQL text expression: the start time of the server, after a
    /// failover or a restore of its files; and the file of the table `epoch`, after a restore of a dump into a server that runs.
    fn instance(&self) -> &'static str;

    /// Whether no crash of the server may have undone commits since an epoch began, as an SQL expression; `epoch` is the table or
    /// an alias.
    fn survived(&self, epoch: &str) -> String;

    /// The statement that notes the id of a new epoch, its parameter, for [`Dialect::survived`].
    fn note_epoch(&self) -> Option<&'static str>;

    /// Milliseconds since 1970 by the database's clock, as an SQL expression: the clocks of fetchers may differ.
    fn milliseconds(&self) -> &'static str;

    /// The clause that locks the rows of a `SELECT` and skips those that are locked.
    fn skip_locked(&self) -> &'static str;

    /// The clause that locks the rows of a `SELECT`.
    fn for_update(&self) -> &'static str;

    /// The address of a row in its table, as a column.
    fn row_address(&self) -> &'static str;

    /// The statement by which a transaction is durable when its commit returns, where that is not certain.
    fn commit_durably(&self) -> Option<&'static str>;

    /// The statement by which the commit of a transaction does not wait for the disk. The next one that waits makes it
    /// durable, too.
    fn commit_without_waiting(&self) -> Option<&'static str>;

    /// The statement that fails where the newest tables are missing.
    fn find_tables(&self) -> &'static str;

    /// The condition of a text for being one of those that are the parameter with this number.
    fn is_any_text(&self, number: usize) -> String;

    /// Several texts as one parameter.
    fn texts(&self, texts: Vec<String>) -> Value;

    /// The query for the columns `c0`, `c1`, … of rows that are [`Dialect::unnestable`] parameters, of which this is the number
    /// of the first.
    fn unnested(&self, first: usize, types: &[Scalar]) -> String;

    /// Rows, given by columns, as parameters.
    fn unnestable(&self, columns: Vec<Vec<Value>>) -> Vec<Value>;

    /// The number of bytes of a text or binary column, as an SQL expression.
    fn octets(&self, column: &str) -> String;

    /// The number of bytes of a record's column as an SQL expression, unless it is small.
    fn column_octets(&self, column: &Column) -> Option<String>;

    /// The value of a column as an SQL expression whose result [`Dialect::read`] takes.
    fn select(&self, column: &Column) -> String;

    /// The version of a stored row as an SQL expression; `column` is the one of versions, if there is one.
    fn version(&self, column: Option<&Column>) -> String;

    /// A value of a column as a parameter.
    fn parameter(&self, of: Type, value: datasets::Value) -> Value;

    /// The SQL expression for the parameter with this number, which is a value of a column.
    fn placeholder(&self, number: usize, of: Type) -> String;

    /// The value of a column of a result.
    fn read(&self, row: &QueryResult, at: usize, of: Type) -> Result<datasets::Value, DbErr>;

    /// The condition of the key's column for being one of the keys that are the first parameter.
    fn is_any_key(&self, dataset: &Dataset) -> String;

    /// A relation and a join operator: the keys that are the first parameter as `requested.jetline_key`, with their ordinal
    /// numbers from 1 in the column `place`.
    fn requested_keys(&self, dataset: &Dataset, place: &str) -> String;

    /// Several keys as one parameter: with a placeholder for each, every number of keys would need a statement of its
    /// own.
    fn keys(&self, dataset: &Dataset, keys: Vec<Key>) -> Result<Value, DbErr>;

    /// The query for the columns of a table that need a value in every row, and its parameter.
    fn required_columns(&self, dataset: &Dataset) -> (&'static str, String);

    /// The type of a column.
    fn sql_type(&self, of: Type) -> &'static str;

    /// The types of fingerprints, positions and times.
    fn own_types(&self) -> [&'static str; 3];

    /// The query for the columns of a table, and whether each needs a value; the table's name is the parameter.
    fn table_columns(&self) -> &'static str;

    /// The statement with which a column need not have a value, if there is one.
    fn drop_not_null(&self, table: &str, column: &str) -> Option<String>;

    /// Why an object of this version cannot be stored, if it cannot.
    fn skip_reason(&self, version: &ObjectVersion) -> Option<&'static str>;

    /// Maximum number of connections that are worth keeping between queries.
    fn keepable_connections(&self, db: &DatabaseConnection) -> u32;

    /// Takes a lock until the end of the transaction.
    async fn lock(&self, tx: &Transaction, lock: Lock) -> Result<(), Error>;

    /// Checks a database after the first connection.
    async fn check(&self, db: &DatabaseConnection, url: &str) -> Result<(), Error>;

    /// Fails on a connection pooler that cannot be used.
    async fn check_pooler(&self, db: &DatabaseConnection) -> Result<(), Error>;

    /// Ends what must not outlast the process.
    async fn close(&self, db: &DatabaseConnection);

    /// The query for the bytes on disk of tables whose names are the parameters, with their names; or of all tables together, called
    /// `all`.
    fn table_bytes(&self, names: &str) -> String;

    /// Whether a table has row security policies.
    async fn has_row_security(&self, tx: &Transaction, dataset: &Dataset) -> Result<bool, Error>;

    /// Writes rows, which are sorted by key, and each with the index of its chunk. With `rewrite`, also those whose
    /// stored content seems to be the same.
    async fn upsert(
        &self,
        tx: &Transaction,
        dataset: &Dataset,
        rows: Vec<(usize, UpsertRow)>,
        now: DateTime<Utc>,
        rewrite: bool,
        upserted: &mut Upserted,
    ) -> Result<(), Error>;

    /// Writes rows to the history of a dataset; `conflict` is the clause for rows that it has.
    async fn insert_history(
        &self,
        tx: &Transaction,
        dataset: &Dataset,
        rows: Vec<UpsertRow>,
        now: DateTime<Utc>,
        conflict: &str,
    ) -> Result<(), Error>;

    /// Runs the statement that writes a row, so that it writes none: an error is not caused by the row then.
    async fn upsert_nothing(
        &self,
        tx: &Transaction,
        dataset: &Dataset,
        row: UpsertRow,
        now: DateTime<Utc>,
    ) -> Result<(), Error>;

    /// NULL as a parameter.
    fn null(&self, of: Type) -> Value;

    /// A column of a query's relation `q` as an SQL expression whose result [`Dialect::read`] takes.
    fn query_column(&self, column: &Column) -> String;

    /// Lets queries read tables, and nothing else, where the database has roles.
    async fn grant_to_queries(&self, tx: &Transaction, tables: &[String]) -> Result<(), Error>;

    /// Fails on a query that the database refuses. Returns why its columns are not the declared ones, if they are not.
    async fn check_query(&self, tx: &Transaction, query: &Query) -> Result<Option<String>, Error>;

    /// Runs the statement of a query, which cannot write, for a limited time. `take` gets the rows until it returns `false`.
    async fn run_query(
        &self,
        db: &DatabaseConnection,
        statement: Statement,
        time: Duration,
        take: &mut (dyn FnMut(QueryResult) -> Result<bool, DbErr> + Send),
    ) -> Result<(), DbErr>;

    /// Whether a statement can catch errors, so that rows are written one by one in the server.
    fn catches_errors(&self) -> bool;

    /// Whether a trigger can end the transaction, so that there is no savepoint to roll back to.
    fn trigger_ends_transaction(&self) -> bool;
}
