//! The keys with which programs authenticate at the API.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, binary, text, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let keys = Table::create()
            .table("api_keys")
            .col(text("name").primary_key())
            // The key itself is stored nowhere.
            .col(binary("hash"))
            .col(text("role"))
            // Names with commas between them; all without any.
            .col(text_null("datasets"))
            .col(big_integer("created_at"))
            .take();
        manager.create_table(keys).await
    }
}
