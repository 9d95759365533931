//! A record as column values, and its table, without the record type.

use sea_orm::{
    ActiveModelTrait, ColumnTrait, ColumnType, EntityTrait, IdenStatic, Iterable, Value,
};

use crate::{IdType, Record, RecordId};
use jetline_core::{Fingerprint, Key};

/// A valid record, ready to be claimed and stored.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    /// The record's id.
    pub key: Key,
    /// The record's version; 0 in datasets without versions.
    pub version: i64,
    /// The hash of the record's content.
    pub fingerprint: Fingerprint,
    /// The values, in the order of [`Table::columns`].
    pub values: Vec<Value>,
}

/// The table of a dataset: the record's own columns. Jetline adds `fingerprint`, `position` and `updated_at`.
#[derive(Clone, Debug)]
pub struct Table {
    /// The table's name.
    pub name: &'static str,
    /// The record's columns.
    pub columns: Vec<Column>,
    /// The name of the id's column.
    pub id: &'static str,
    /// How ids are stored.
    pub id_type: IdType,
    /// The name of the version's column, in datasets that have one.
    pub version: Option<&'static str>,
}

/// A column of a record.
#[derive(Clone, Debug)]
pub struct Column {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub column_type: ColumnType,
    /// Whether it is nullable.
    pub nullable: bool,
}

impl Table {
    /// The table of a record type.
    #[must_use]
    pub fn of<R: Record>() -> Self {
        let columns = <R::Table as EntityTrait>::Column::iter().map(|column| Column {
            name: column.as_str(),
            column_type: column.def().get_column_type().clone(),
            nullable: column.def().is_null(),
        });
        Self {
            name: R::NAME,
            columns: columns.collect(),
            id: R::ID_COLUMN,
            id_type: R::Id::TYPE,
            version: R::VERSION_COLUMN,
        }
    }
}

/// Moves the values out of a record, in the order of its table's columns.
pub(crate) fn values<R: Record>(record: R) -> Vec<Value> {
    let mut active = record.into_active_model();
    <R::Table as EntityTrait>::Column::iter()
        .filter_map(|column| active.take(column).into_value())
        .collect()
}
