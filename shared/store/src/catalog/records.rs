//! Records by id.

use chrono::{DateTime, Utc};
use jetline_core::{Fingerprint, Key};
use jetline_records::{IdType, Record, RecordId, Table};
use sea_orm::{
    ColumnType, ConnectionTrait, DbBackend, DbErr, FromQueryResult, QueryResult, Statement,
    TryGetError, Value, sea_query::ArrayType,
};

use super::Catalog;
use crate::{
    Error,
    dialect::{named, value},
};

/// The operation, in errors and statements.
pub(super) const READ: &str = "read records";

/// PostgreSQL's condition for several ids.
pub(super) const ANY: &str = "= ANY($1)";

/// A stored record.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredRecord<R> {
    /// The record.
    pub record: R,
    /// A hash of its content.
    pub fingerprint: Fingerprint,
    /// When its content last changed.
    pub updated_at: DateTime<Utc>,
}

impl<R: Record> FromQueryResult for StoredRecord<R> {
    fn from_query_result(row: &QueryResult, prefix: &str) -> Result<Self, DbErr> {
        let fingerprint: Vec<u8> = row.try_get(prefix, "fingerprint")?;
        let fingerprint = Fingerprint::try_from(fingerprint.as_slice())
            .map_err(|error| TryGetError::DbErr(DbErr::Type(format!("fingerprint: {error}"))))?;
        Ok(Self {
            record: R::from_query_result(row, prefix)?,
            fingerprint,
            updated_at: row.try_get(prefix, "updated_at")?,
        })
    }
}

impl Catalog {
    /// The records that have one of these ids, in no order. The text of the statement does not depend on their number.
    pub async fn records<R: Record>(&self, ids: &[R::Id]) -> Result<Vec<StoredRecord<R>>, Error> {
        let db = &self.db;
        let keys = ids.iter().map(RecordId::key);
        let found = async {
            let statement = by_key(db.get_database_backend(), &Table::of::<R>(), keys)?;
            StoredRecord::find_by_statement(statement).all(db).await
        };
        found.await.map_err(|error| Error::from_query(READ, error))
    }
}

/// The first part of the requested records.
#[derive(Clone, Debug, PartialEq)]
pub struct Part<R> {
    /// Those that exist, in the order of the request; an id that was given twice has two.
    pub found: Vec<StoredRecord<R>>,
    /// The number of ids, from the first on, that this part answers.
    pub ids: usize,
}

impl Catalog {
    /// The records of the first of these ids, up to the one with which they reach `bytes` of text.
    pub async fn records_part<R: Record>(
        &self,
        ids: &[R::Id],
        bytes: usize,
    ) -> Result<Part<R>, Error> {
        let db = &self.db;
        let failed = |error| Error::from_query(READ, error);
        let backend = db.get_database_backend();
        let table = Table::of::<R>();
        let limit = i64::try_from(bytes).unwrap_or(i64::MAX);
        let keys = keys(backend, &table, ids.iter().map(RecordId::key)).map_err(failed)?;
        let values = [keys, limit.into()];
        let statement = Statement::from_sql_and_values(backend, parts(backend, &table), values);
        let placed =
            Placed::<R>::find_by_statement(named(READ, statement)).all(db).await.map_err(failed)?;
        let full = placed.last().filter(|last| last.ends_at >= limit);
        let answered = full.and_then(|last| usize::try_from(last.place).ok());
        Ok(Part {
            found: placed.into_iter().map(|placed| placed.found).collect(),
            ids: answered.unwrap_or(ids.len()).min(ids.len()),
        })
    }
}

struct Placed<R> {
    found: StoredRecord<R>,
    /// The place of its id among the requested ones, from 1.
    place: i64,
    /// Total bytes of the records up to and including it.
    ends_at: i64,
}

impl<R: Record> FromQueryResult for Placed<R> {
    fn from_query_result(row: &QueryResult, prefix: &str) -> Result<Self, DbErr> {
        Ok(Self {
            found: StoredRecord::from_query_result(row, prefix)?,
            place: row.try_get(prefix, PLACE)?,
            ends_at: row.try_get(prefix, ENDS_AT)?,
        })
    }
}

/// Names that no column of a record can have.
const PLACE: &str = "jetline_place";
const ENDS_AT: &str = "jetline_ends_at";

/// The statement of a part: those of the requested records that begin within the limit of bytes.
fn parts(backend: DbBackend, table: &Table) -> String {
    // The ids come first in the join, so that the table is looked up by each id instead of scanned.
    let asked = match backend {
        DbBackend::Sqlite => {
            format!(
                "(SELECT value AS asked, key + 1 AS {PLACE} FROM json_each($1)) AS asked CROSS JOIN"
            )
        }
        _ => format!("unnest($1) WITH ORDINALITY AS asked (asked, {PLACE}) JOIN"),
    };
    let bytes = bytes(backend, table);
    format!(
        "SELECT * FROM (SELECT {}, fingerprint, updated_at, {PLACE}, {bytes} AS jetline_bytes, \
         SUM({bytes}) OVER (ORDER BY {PLACE}) AS {ENDS_AT} \
         FROM {asked} {:?} AS record ON record.{:?} = asked.asked) AS record \
         WHERE {ENDS_AT} - jetline_bytes < $2 ORDER BY {PLACE}",
        columns(table),
        table.name,
        table.id
    )
}

/// The approximate size of a record in bytes, as an SQL expression: its texts, and a constant for everything else.
fn bytes(backend: DbBackend, table: &Table) -> String {
    let texts = table.columns.iter().filter_map(|column| {
        let name = column.name;
        Some(match (&column.column_type, backend) {
            (_, DbBackend::Sqlite) => format!("COALESCE(length(CAST({name:?} AS BLOB)), 0)"),
            (ColumnType::String(_) | ColumnType::Text | ColumnType::Binary(_), _) => {
                format!("COALESCE(octet_length({name:?}), 0)")
            }
            (ColumnType::Json | ColumnType::JsonBinary, _) => {
                format!("COALESCE(octet_length(CAST({name:?} AS text)), 0)")
            }
            _ => return None,
        })
    });
    let parts: Vec<String> = std::iter::once("100".to_owned()).chain(texts).collect();
    format!("({})", parts.join(" + "))
}

/// The key of any record.
pub(super) async fn any_key(
    db: &impl ConnectionTrait,
    table: &Table,
) -> Result<Option<Key>, Error> {
    let sql = format!("SELECT {:?} FROM {:?} LIMIT 1", table.id, table.name);
    let statement = named(READ, Statement::from_string(db.get_database_backend(), sql));
    let row = db.query_one_raw(statement).await;
    let row = row.map_err(|error| Error::from_query(READ, error))?;
    let key = row.map(|row| match table.id_type {
        IdType::Int => row.try_get_by_index(0).map(Key::Int),
        IdType::Text => row.try_get_by_index(0).map(Key::Text),
    });
    key.transpose().map_err(|error| Error::from_query(READ, error))
}

/// The statement for the records with these keys, in no order.
pub(super) fn by_key(
    backend: DbBackend,
    table: &Table,
    keys: impl Iterator<Item = Key>,
) -> Result<Statement, DbErr> {
    let condition = match backend {
        DbBackend::Sqlite => "IN (SELECT value FROM json_each($1))",
        _ => ANY,
    };
    let bound = self::keys(backend, table, keys)?;
    Ok(Statement::from_sql_and_values(backend, sql(table, condition), [bound]))
}

/// The text of the statement.
pub(super) fn sql(table: &Table, condition: &str) -> String {
    format!(
        "/* {READ} */ SELECT {}, fingerprint, updated_at FROM {:?} WHERE {:?} {condition}",
        columns(table),
        table.name,
        table.id
    )
}

fn columns(table: &Table) -> String {
    let names = table.columns.iter();
    let names: Vec<String> = names.map(|column| format!("{:?}", column.name)).collect();
    names.join(", ")
}

/// Several keys as one parameter: with a placeholder for each, every number of keys would need a statement of its own.
fn keys(
    backend: DbBackend,
    table: &Table,
    keys: impl Iterator<Item = Key>,
) -> Result<Value, DbErr> {
    match backend {
        DbBackend::Sqlite => json(keys),
        _ => Ok(array(table.id_type, keys)),
    }
}

fn array(id_type: IdType, keys: impl Iterator<Item = Key>) -> Value {
    let of = match id_type {
        IdType::Int => ArrayType::BigInt,
        IdType::Text => ArrayType::String,
    };
    Value::Array(of, Some(Box::new(keys.map(|key| value(&key)).collect())))
}

/// SQLite has no arrays to bind.
fn json(keys: impl Iterator<Item = Key>) -> Result<Value, DbErr> {
    let ids: Vec<serde_json::Value> = keys
        .map(|key| match key {
            Key::Int(id) => id.into(),
            Key::Text(id) => id.into(),
        })
        .collect();
    let text = serde_json::to_string(&ids).map_err(|error| DbErr::Json(error.to_string()))?;
    Ok(text.into())
}
