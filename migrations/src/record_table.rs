//! Helpers for the tables of datasets.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, binary, text, timestamp_with_time_zone},
};

/// A dataset's table with the columns `fingerprint`, `position` and `updated_at`, to which its own are added.
pub(crate) fn record_table(name: &'static str) -> TableCreateStatement {
    Table::create()
        .table(name)
        .col(binary("fingerprint"))
        .col(big_integer("position"))
        .col(timestamp_with_time_zone("updated_at"))
        .take()
}

/// A column for exact decimals: `numeric`; in SQLite, whose decimals are floats, text.
pub(crate) fn exact_decimal(manager: &SchemaManager, name: &'static str) -> ColumnDef {
    if manager.get_database_backend() == sea_orm::DbBackend::Sqlite {
        return text(name);
    }
    ColumnDef::new(name).custom("numeric").not_null().take()
}
