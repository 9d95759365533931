//! The fields of records that no column takes: of each chunk, and of each dataset.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, text, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let of_chunk = text_null("unknown_fields").take();
        manager.alter_table(Table::alter().table("chunks").add_column(of_chunk).take()).await?;
        let of_dataset = Table::create()
            .table("unknown_fields")
            .col(text("dataset"))
            .col(text("path"))
            .col(big_integer("records"))
            .col(big_integer("first_position"))
            .col(text("types"))
            .primary_key(Index::create().col("dataset").col("path"))
            .take();
        manager.create_table(of_dataset).await
    }
}
