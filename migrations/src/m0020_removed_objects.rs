//! The highest number of an object whose entry was removed: a replay from there on could not know what the object had.

use sea_orm_migration::{prelude::*, schema::big_integer};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let removed = big_integer("removed_object").default(0).take();
        manager.alter_table(Table::alter().table("ledger").add_column(removed).take()).await
    }
}
