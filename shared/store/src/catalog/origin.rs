//! Where records come from.

use chrono::{DateTime, Utc};
use jetline_core::{Key, Position};
use jetline_datasets::{Column, Dataset, Value};
use sea_orm::{ConnectionTrait, DbErr, QueryResult, Statement};

use super::Catalog;
use crate::{
    Error,
    database::query_failed,
    dialect::{self, Dialect},
    statement::{named, value},
};

/// The operation, in errors and statements.
const READ: &str = "read the origin of a record";

/// Where a record comes from.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// The position of its line.
    pub position: Position,
    /// The address of the line's object, if it is in the ledger.
    pub uri: Option<String>,
    /// Its version.
    pub version: Value,
    /// When its content last changed.
    pub changed_at: DateTime<Utc>,
    /// Whether its line deletes it.
    pub is_deleted: bool,
}

impl Catalog {
    /// The origin of the record with this key.
    pub async fn origin(&self, dataset: &Dataset, key: &Key) -> Result<Option<Origin>, Error> {
        let failed = |error| query_failed(READ, error);
        let db = &self.db;
        let dialect = dialect::of(db);
        let sql = statement(dialect, dataset);
        let statement =
            Statement::from_sql_and_values(db.get_database_backend(), sql, [value(key)]);
        let row = db.query_one_raw(named(READ, statement)).await.map_err(failed)?;
        row.map(|row| origin(dialect, dataset, &row)).transpose().map_err(failed)
    }
}

fn statement(dialect: &dyn Dialect, dataset: &Dataset) -> String {
    let (key, Column { name: deleted, .. }) = (dataset.key(), Column::deleted());
    let deleted = if dataset.has(&deleted) { &deleted } else { "NULL" };
    format!(
        "SELECT jetline_position, jetline_changed_at, CAST({deleted} AS BOOLEAN), \
         (SELECT root || '/' || key FROM objects WHERE id = jetline_position >> 32) AS jetline_uri, {} \
         FROM {:?} WHERE {:?} = {}",
        dataset.version().map_or("NULL".to_owned(), |version| dialect.select(version)),
        dataset.name,
        key.name,
        dialect.placeholder(1, key.column_type)
    )
}

fn origin(dialect: &dyn Dialect, dataset: &Dataset, row: &QueryResult) -> Result<Origin, DbErr> {
    let position = Position::from_number(row.try_get_by_index(0)?);
    Ok(Origin {
        position: position.ok_or_else(|| DbErr::Type("a position is negative".to_owned()))?,
        changed_at: row.try_get_by_index(1)?,
        is_deleted: row.try_get_by_index::<Option<bool>>(2)?.unwrap_or(false),
        uri: row.try_get_by_index(3)?,
        version: match dataset.version() {
            Some(version) => dialect.read(row, 4, version.column_type)?,
            None => Value::Null,
        },
    })
}
