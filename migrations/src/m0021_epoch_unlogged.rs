//! An unlogged table with the id of the epoch. PostgreSQL empties it when it recovers from a crash, of one backend too, by which
//! commits may be lost that did not wait for the disk.

use sea_orm_migration::{prelude::*, sea_orm::DbBackend};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        if manager.get_database_backend() != DbBackend::Postgres {
            return Ok(());
        }
        let table = "CREATE UNLOGGED TABLE epoch_unlogged
             (slot INTEGER PRIMARY KEY CHECK (slot = 1), id TEXT NOT NULL)";
        manager.get_connection().execute_unprepared(table).await.map(drop)
    }
}
