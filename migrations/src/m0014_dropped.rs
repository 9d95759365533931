//! The highest numbers of objects and declarations that were removed with their datasets: no number is given twice.

use sea_orm_migration::{prelude::*, schema::big_integer};

const COLUMNS: [&str; 2] = ["last_object", "last_declaration"];

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        for name in COLUMNS {
            let column = big_integer(name).default(0).take();
            manager.alter_table(Table::alter().table("ledger").add_column(column).take()).await?;
        }
        Ok(())
    }
}
