//! Records by id.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use jetline_core::{Fingerprint, Key};
use jetline_datasets::{Column, Dataset, Type, Value};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};

use super::Catalog;
use crate::{
    Error,
    database::query_failed,
    dialect::{self, Dialect},
    statement::named,
};

/// The operation, in errors and statements.
pub(super) const READ: &str = "read records";

/// A stored record.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord {
    /// Its key.
    pub key: Key,
    /// Its values, in the order of [`Dataset::columns`].
    pub values: Vec<Value>,
    /// The fields that no column takes, as a JSON object.
    pub extra: Option<String>,
    /// Whether it is deleted.
    pub is_deleted: bool,
    /// A hash of its content.
    pub fingerprint: Fingerprint,
    /// When its content last changed.
    pub changed_at: DateTime<Utc>,
}

impl StoredRecord {
    /// The record of a row that begins with [`columns`].
    pub(super) fn of(
        dialect: &dyn Dialect,
        dataset: &Dataset,
        row: &QueryResult,
    ) -> Result<Self, DbErr> {
        let columns = dataset.columns.iter().enumerate();
        let values = columns.map(|(at, column)| dialect.read(row, at, column.column_type));
        let values = values.collect::<Result<Vec<Value>, DbErr>>()?;
        let next = values.len();
        let extra = match dialect.read(row, next, Type::Json)? {
            Value::Json(extra) => Some(extra),
            _ => None,
        };
        let fingerprint: Vec<u8> = row.try_get_by_index(next + 2)?;
        let fingerprint = Fingerprint::try_from(&fingerprint[..]);
        Ok(Self {
            key: dataset.key_in(&values).map_err(|rejection| DbErr::Type(rejection.message))?,
            fingerprint: fingerprint
                .map_err(|error| DbErr::Type(format!("fingerprint: {error}")))?,
            changed_at: row.try_get_by_index(next + 3)?,
            is_deleted: row.try_get_by_index::<Option<bool>>(next + 1)?.unwrap_or(false),
            extra,
            values,
        })
    }
}

impl Catalog {
    /// The records that have one of these keys, also deleted ones, in no order. The text of the statement does not depend on their number.
    pub async fn records(
        &self,
        dataset: &Arc<Dataset>,
        keys: Vec<Key>,
    ) -> Result<Vec<StoredRecord>, Error> {
        let mut found = Vec::new();
        self.finder(dataset, false).find(keys, |record| found.push(record)).await?;
        Ok(found)
    }
}

/// The first part of the requested records.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Those that exist and are not deleted, in the order of the request; a key that was given twice has two.
    pub found: Vec<StoredRecord>,
    /// The number of keys, from the first on, that this part answers.
    pub keys: usize,
}

impl Catalog {
    /// The records of the first of these keys, up to the one with which they reach `bytes` of text.
    pub async fn records_part(
        &self,
        dataset: &Dataset,
        keys: &[Key],
        bytes: usize,
    ) -> Result<Part, Error> {
        self.read_part(dataset, keys, bytes).await.map_err(|error| query_failed(READ, error))
    }

    async fn read_part(
        &self,
        dataset: &Dataset,
        keys: &[Key],
        bytes: usize,
    ) -> Result<Part, DbErr> {
        let db = &self.db;
        let dialect = dialect::of(db);
        let limit = i64::try_from(bytes).unwrap_or(i64::MAX);
        let values = [dialect.keys(dataset, keys.to_vec())?, limit.into()];
        let sql = parts(dialect, dataset);
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
        let rows = db.query_all_raw(named(READ, statement)).await?;
        let mut answered = keys.len();
        if let Some(last) = rows.last()
            && last.try_get::<i64>("", ENDS_AT)? >= limit
        {
            let place: i64 = last.try_get("", PLACE)?;
            answered = usize::try_from(place).unwrap_or(answered).min(answered);
        }
        let found = rows.iter().map(|row| StoredRecord::of(dialect, dataset, row));
        Ok(Part { found: found.collect::<Result<_, _>>()?, keys: answered })
    }
}

/// Names that no column of a record can have.
const PLACE: &str = "jetline_place";
const ENDS_AT: &str = "jetline_ends_at";

/// The statement of a part: those of the requested records that begin within the limit of bytes.
fn parts(dialect: &dyn Dialect, dataset: &Dataset) -> String {
    // The keys come first in the join, so that the table is looked up by each key instead of scanned.
    let requested = dialect.requested_keys(dataset, PLACE);
    let bytes = bytes(dialect, dataset);
    let exists = exists(dataset).map(|exists| format!("WHERE {exists}")).unwrap_or_default();
    format!(
        "SELECT * FROM (SELECT {}, {PLACE}, {bytes} AS jetline_bytes, \
         SUM({bytes}) OVER (ORDER BY {PLACE}) AS {ENDS_AT} \
         FROM {requested} {:?} AS record ON record.{:?} = requested.jetline_key {exists}) AS record \
         WHERE {ENDS_AT} - jetline_bytes < $2 ORDER BY {PLACE}",
        columns(dialect, dataset),
        dataset.name,
        dataset.key().name
    )
}

/// The condition for a row of `record` not to be deleted, where rows can be.
pub(super) fn exists(dataset: &Dataset) -> Option<String> {
    let Column { name, .. } = Column::deleted();
    dataset.has(&name).then(|| format!("record.{name:?} IS NOT TRUE"))
}

/// The approximate size of a record in bytes, as an SQL expression: its texts, and a constant for everything else.
pub(super) fn bytes(dialect: &dyn Dialect, dataset: &Dataset) -> String {
    let extra = Some(Column::extra()).filter(|extra| dataset.has(&extra.name));
    let columns = dataset.columns.iter().chain(&extra);
    let large = columns.filter_map(|column| dialect.column_octets(column));
    let large = large.map(|octets| format!("COALESCE({octets}, 0)"));
    let parts: Vec<String> = std::iter::once("100".to_owned()).chain(large).collect();
    format!("({})", parts.join(" + "))
}

/// The key of any record that is not deleted.
pub(super) async fn any_key(
    db: &impl ConnectionTrait,
    dataset: &Dataset,
) -> Result<Option<Key>, DbErr> {
    let (dialect, key) = (dialect::of(db), dataset.key());
    let exists = exists(dataset).map(|exists| format!("WHERE {exists}")).unwrap_or_default();
    let (key_sql, table) = (dialect.select(key), &dataset.name);
    let sql = format!("SELECT {key_sql} FROM {table:?} AS record {exists} LIMIT 1");
    let statement = named(READ, Statement::from_string(db.get_database_backend(), sql));
    let Some(row) = db.query_one_raw(statement).await? else {
        return Ok(None);
    };
    let key = dataset.key_of(&dialect.read(&row, 0, key.column_type)?);
    key.map(Some).map_err(|rejection| DbErr::Type(rejection.message))
}

/// The statement for the records with these keys, in no order.
pub(super) fn by_key(
    db: &impl ConnectionTrait,
    dataset: &Dataset,
    keys: Vec<Key>,
) -> Result<Statement, DbErr> {
    let dialect = dialect::of(db);
    let keys = dialect.keys(dataset, keys)?;
    let sql = sql(dialect, dataset);
    Ok(Statement::from_sql_and_values(db.get_database_backend(), sql, [keys]))
}

/// The text of the statement.
pub(super) fn sql(dialect: &dyn Dialect, dataset: &Dataset) -> String {
    format!(
        "/* {READ} */ SELECT {} FROM {:?} WHERE {:?} {}",
        columns(dialect, dataset),
        dataset.name,
        dataset.key().name,
        dialect.is_any_key(dataset)
    )
}

/// What [`StoredRecord::of`] takes: NULL where the table has no column for it.
pub(super) fn columns(dialect: &dyn Dialect, dataset: &Dataset) -> String {
    let own = [Column::extra(), Column::deleted()];
    let columns = dataset.columns.iter().chain(&own).map(|column| {
        let has = dataset.has(&column.name);
        let value = if has { dialect.select(column) } else { "NULL".to_owned() };
        format!("{value} AS {:?}", column.name)
    });
    let columns: Vec<String> = columns
        .chain(["jetline_fingerprint".to_owned(), "jetline_changed_at".to_owned()])
        .collect();
    columns.join(", ")
}
