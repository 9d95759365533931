//! The new objects of listings, until they are registered. PostgreSQL empties the table when it recovers from a crash: the sources
//! are then listed again.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, binary, text, timestamp_with_time_zone},
    sea_orm::DbBackend,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let table = Table::create()
            .table("listed_objects")
            .col(text("listing_id"))
            .col(binary("order_key"))
            .col(big_integer("sequence"))
            .col(text("object"))
            .col(timestamp_with_time_zone("listed_at"))
            .primary_key(Index::create().col("listing_id").col("order_key").col("sequence"))
            .take();
        manager.create_table(table).await?;
        if manager.get_database_backend() == DbBackend::Postgres {
            // The builder of tables has no such option.
            let unlogged = "ALTER TABLE listed_objects SET UNLOGGED";
            manager.get_connection().execute_unprepared(unlogged).await?;
        }
        Ok(())
    }
}
