//! The identity of the ledger, and the dedup store in which the last epoch began.

use sea_orm_migration::{
    prelude::*,
    schema::{integer, text, text_null, timestamp_with_time_zone_null},
    sea_orm::DbBackend,
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        manager.create_table(ledger()).await?;
        let random = match manager.get_database_backend() {
            DbBackend::Postgres => {
                "md5(random()::text || clock_timestamp()::text || random()::text)"
            }
            _ => "lower(hex(randomblob(16)))",
        };
        let insert = format!("INSERT INTO ledger (slot, id) VALUES (1, {random})");
        manager.get_connection().execute_unprepared(&insert).await?;
        // SQLite adds one column at a time.
        for column in columns() {
            let alter = Table::alter().table("epoch").add_column(column).take();
            manager.alter_table(alter).await?;
        }
        Ok(())
    }
}

fn ledger() -> TableCreateStatement {
    Table::create().table("ledger").col(integer("slot").primary_key()).col(text("id")).take()
}

fn columns() -> [ColumnDef; 4] {
    [
        text_null("store_address"),
        text_null("store_identity"),
        integer("store_changes").default(0).take(),
        timestamp_with_time_zone_null("store_changed_at"),
    ]
}
