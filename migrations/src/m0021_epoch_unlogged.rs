//! An unlogged table with the id of the epoch. PostgreSQL empties it when it recovers from a crash, of one backend too, by which
//! commits may be lost that did not wait for the disk.

use sea_orm_migration::{
    prelude::*,
    schema::{integer, text},
    sea_orm::DbBackend,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let slot = integer("slot").primary_key().check(Expr::col("slot").eq(1)).take();
        let table = Table::create().table("epoch_unlogged").col(slot).col(text("id")).take();
        manager.create_table(table).await?;
        let connection = manager.get_connection();
        connection.execute_unprepared("ALTER TABLE epoch_unlogged SET UNLOGGED").await.map(drop)
    }

    async fn down(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let drop = Table::drop().table("epoch_unlogged").if_exists().take();
        manager.drop_table(drop).await
    }
}
