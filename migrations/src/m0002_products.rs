//! The table of the products dataset.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, text},
};

use crate::record_table::{exact_decimal, record_table};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let products = record_table("products")
            .col(big_integer("id").primary_key())
            .col(text("title"))
            .col(exact_decimal(manager, "price"))
            .col(text("category"))
            .col(text("brand"))
            .col(text("url"))
            .col(text("description"))
            .take();
        manager.create_table(products).await
    }
}
