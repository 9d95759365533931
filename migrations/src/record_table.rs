//! What every dataset's table has.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, binary, text, timestamp_with_time_zone},
};

/// A dataset's table: its own columns go on top of `fingerprint`, `position` and `updated_at`.
pub(crate) fn record_table(name: &'static str) -> TableCreateStatement {
    Table::create()
        .table(name)
        .col(binary("fingerprint"))
        .col(big_integer("position"))
        .col(timestamp_with_time_zone("updated_at"))
        .take()
}

/// A column for exact decimals: `numeric`, or the digits as text in SQLite, whose numbers are floats.
pub(crate) fn exact_decimal(manager: &SchemaManager, name: &'static str) -> ColumnDef {
    if manager.get_database_backend() == sea_orm::DbBackend::Sqlite {
        return text(name);
    }
    ColumnDef::new(name).custom("numeric").not_null().take()
}
