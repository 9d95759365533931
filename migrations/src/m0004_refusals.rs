//! Columns for objects that a source refused to let read: why, how often in a row, and when to retry.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        // SQLite adds one column at a time.
        for column in [
            text_null("refusal"),
            big_integer("refusals").default(0).take(),
            big_integer_null("retry_at"),
        ] {
            let add = Table::alter().table("objects").add_column(column).take();
            manager.alter_table(add).await?;
        }
        Ok(())
    }
}
