//! Columns for lines that supersede lines of a chunk, and for datasets that are written without claims.

use sea_orm_migration::{
    prelude::*,
    schema::{text, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let outdone = Table::alter().table("chunks").add_column(text_null("outdone_by")).take();
        manager.alter_table(outdone).await?;
        let write_through =
            Table::alter().table("epoch").add_column(text("write_through").default("")).take();
        manager.alter_table(write_through).await
    }
}
