//! The versions of a record.

use jetline_core::{Key, Position};
use jetline_datasets::{Dataset, Value};
use sea_orm::{ConnectionTrait, DbErr, Statement};

use super::{
    Catalog,
    pages::{List, Order},
    records::StoredRecord,
};
use crate::{
    Error,
    database::query_failed,
    dialect,
    statement::{named, value},
};

/// The operation, in errors and statements.
const READ: &str = "read the history of a record";

/// A version of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct StoredVersion {
    /// The record.
    pub record: StoredRecord,
    /// The position of its line.
    pub position: Position,
}

/// Selects versions of a record.
#[derive(Clone, Debug, Default)]
pub struct Filter {
    /// Only those up to this version.
    pub at: Option<Value>,
    /// Only those below this version.
    pub after: Option<Value>,
}

/// Versions of a record.
#[derive(Clone, Debug, PartialEq)]
pub struct VersionPage {
    /// The versions, the highest first.
    pub versions: Vec<StoredVersion>,
    /// Whether there are more.
    pub has_more: bool,
}

impl Catalog {
    /// The selected versions of the record with this key in a dataset with a history, the highest first: up to `limit` of
    /// them, and none that begins after `bytes` of text.
    pub async fn history(
        &self,
        dataset: &Dataset,
        key: &Key,
        filter: &Filter,
        limit: u64,
        bytes: usize,
    ) -> Result<VersionPage, Error> {
        let page = self.read_history(dataset, key, filter, limit, bytes).await;
        page.map_err(|error| query_failed(READ, error))
    }

    async fn read_history(
        &self,
        dataset: &Dataset,
        key: &Key,
        filter: &Filter,
        limit: u64,
        bytes: usize,
    ) -> Result<VersionPage, DbErr> {
        let dialect = dialect::of(&self.db);
        let version = dataset.version().unwrap_or(dataset.key());
        let table = dataset.history_table();
        let mut list = List::new(&table, &version.name, Order::Descending);
        list.only(dialect, dataset.key(), "=", value(key));
        for (operator, value) in [("<=", &filter.at), ("<", &filter.after)] {
            if let Some(value) = value {
                let value = dialect.parameter(version.column_type, value.clone());
                list.only(dialect, version, operator, value);
            }
        }
        let (rows, has_more) = self.read_list(dataset, list, limit, bytes).await?;
        let versions = rows.iter().map(|row| {
            let position = Position::from_number(row.try_get("", "jetline_position")?);
            Ok(StoredVersion {
                record: StoredRecord::of(dialect, dataset, row)?,
                position: position
                    .ok_or_else(|| DbErr::Type("a position is negative".to_owned()))?,
            })
        });
        Ok(VersionPage { versions: versions.collect::<Result<_, DbErr>>()?, has_more })
    }
}

/// Fails where the table cannot be read.
pub(super) async fn check(db: &impl ConnectionTrait, dataset: &Dataset) -> Result<(), Error> {
    let sql = format!("SELECT 1 FROM {:?} LIMIT 0", dataset.history_table());
    let statement = named(READ, Statement::from_string(db.get_database_backend(), sql));
    db.query_all_raw(statement).await.map(drop).map_err(|error| query_failed(READ, error))
}
