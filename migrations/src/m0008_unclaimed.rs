//! Columns for dead chunks without claims, and for the dedup store before the last one.

use sea_orm_migration::{
    prelude::*,
    schema::{boolean, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let unclaimed = boolean("unclaimed").default(false).take();
        for (table, column) in [("chunks", unclaimed), ("epoch", text_null("store_before"))] {
            let alter = Table::alter().table(table).add_column(column).take();
            manager.alter_table(alter).await?;
        }
        Ok(())
    }
}
