//! Columns for the number of lines that deleted.

use sea_orm_migration::{prelude::*, schema::big_integer};

const TABLES: [&str; 2] = ["objects", "chunks"];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for table in TABLES {
            let deleted = big_integer("deleted").default(0).take();
            manager.alter_table(Table::alter().table(table).add_column(deleted).take()).await?;
        }
        Ok(())
    }
}
