//! How far an object is read, for those who watch.

use sea_orm_migration::{prelude::*, schema::big_integer};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

/// Bytes, decompressed and as stored.
const COLUMNS: [&str; 2] = ["read_bytes", "read_stored_bytes"];

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for column in COLUMNS {
            let column = big_integer(column).default(0).take();
            manager.alter_table(Table::alter().table("objects").add_column(column).take()).await?;
        }
        Ok(())
    }
}
