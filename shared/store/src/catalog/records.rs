//! Records by id.

use chrono::{DateTime, Utc};
use jetline_core::{Fingerprint, Key};
use jetline_records::{IdType, Record, RecordId, Table};
use sea_orm::{ConnectionTrait, DbErr, FromQueryResult, QueryResult, Statement, TryGetError};

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
            let statement = by_key(db, &Table::of::<R>(), keys.collect())?;
            StoredRecord::find_by_statement(statement).all(db).await
        };
        found.await.map_err(|error| query_failed(READ, error))
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
        let failed = |error| query_failed(READ, error);
        let dialect = dialect::of(db);
        let table = Table::of::<R>();
        let limit = i64::try_from(bytes).unwrap_or(i64::MAX);
        let keys = ids.iter().map(RecordId::key).collect();
        let values = [dialect.keys(table.id_type, keys).map_err(failed)?, limit.into()];
        let sql = parts(dialect, &table);
        let statement = Statement::from_sql_and_values(db.get_database_backend(), sql, values);
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
fn parts(dialect: &dyn Dialect, table: &Table) -> String {
    // The ids come first in the join, so that the table is looked up by each id instead of scanned.
    let requested = dialect.requested_keys(PLACE);
    let bytes = bytes(dialect, table);
    format!(
        "SELECT * FROM (SELECT {}, fingerprint, updated_at, {PLACE}, {bytes} AS jetline_bytes, \
         SUM({bytes}) OVER (ORDER BY {PLACE}) AS {ENDS_AT} \
         FROM {requested} {:?} AS record ON record.{:?} = requested.key) AS record \
         WHERE {ENDS_AT} - jetline_bytes < $2 ORDER BY {PLACE}",
        columns(table),
        table.name,
        table.id
    )
}

/// The approximate size of a record in bytes, as an SQL expression: its texts, and a constant for everything else.
fn bytes(dialect: &dyn Dialect, table: &Table) -> String {
    let large = table.columns.iter().filter_map(|column| dialect.column_octets(column));
    let large = large.map(|octets| format!("COALESCE({octets}, 0)"));
    let parts: Vec<String> = std::iter::once("100".to_owned()).chain(large).collect();
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
    let row = row.map_err(|error| query_failed(READ, error))?;
    let key = row.map(|row| match table.id_type {
        IdType::Int => row.try_get_by_index(0).map(Key::Int),
        IdType::Text => row.try_get_by_index(0).map(Key::Text),
    });
    key.transpose().map_err(|error| query_failed(READ, error))
}

/// The statement for the records with these keys, in no order.
pub(super) fn by_key(
    db: &impl ConnectionTrait,
    table: &Table,
    keys: Vec<Key>,
) -> Result<Statement, DbErr> {
    let dialect = dialect::of(db);
    let sql = sql(table, dialect.is_any_key());
    let keys = dialect.keys(table.id_type, keys)?;
    Ok(Statement::from_sql_and_values(db.get_database_backend(), sql, [keys]))
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
