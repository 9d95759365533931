//! The outbox: changes that commits append, the deliveries that they are folded into, one for each destination and key, the
//! destinations, and the deliveries that newer ones cancelled.

use sea_orm_migration::{
    prelude::*,
    schema::{big_integer, big_integer_null, binary, binary_null, text, text_null},
};

#[derive(DeriveMigrationName)]
pub(crate) struct Migration;

#[async_trait::async_trait]
impl MigrationTrait for Migration {
    async fn up(&self, manager: &SchemaManager) -> Result<(), DbErr> {
        let destinations = Table::create()
            .table("delivery_destinations")
            .col(big_integer("id").primary_key())
            .col(text("dataset"))
            .col(text("name"))
            // Why nothing is delivered, until it is enabled.
            .col(text_null("disabled"))
            .index(
                Index::create()
                    .unique()
                    .name("delivery_destinations_name")
                    .col("dataset")
                    .col("name"),
            )
            .take();
        manager.create_table(destinations).await?;
        // No number of a destination is given twice, also if it was removed.
        let last = big_integer("last_destination").default(0).take();
        manager.alter_table(Table::alter().table("ledger").add_column(last).take()).await?;
        // An id is given once, also after its row is deleted. There is no index in PostgreSQL: it would be half of the cost
        // of a row.
        let id = match manager.get_database_backend() {
            sea_orm::DbBackend::Sqlite => big_integer("id").auto_increment().primary_key().take(),
            _ => big_integer("id").auto_increment().take(),
        };
        let changes = Table::create()
            .table("delivery_changes")
            .col(id)
            .col(big_integer("destination"))
            .col(text("key"))
            .col(text("kind"))
            .col(big_integer("version"))
            .col(big_integer("position"))
            .col(binary("fingerprint"))
            .col(big_integer("due_at"))
            .col(text_null("error"))
            .take();
        manager.create_table(changes).await?;
        let deliveries = Table::create()
            .table("deliveries")
            .col(big_integer("destination"))
            .col(key(manager))
            .col(text("kind"))
            .col(big_integer("version"))
            .col(big_integer("position"))
            .col(big_integer("revision"))
            .col(binary("fingerprint"))
            .col(text("state"))
            .col(big_integer_null("due_at"))
            .col(big_integer("first_due_at"))
            .col(big_integer("attempts"))
            .col(text_null("lease"))
            .col(big_integer_null("lease_until"))
            .col(big_integer_null("lease_revision"))
            .col(binary_null("acknowledged"))
            .col(big_integer_null("status"))
            .col(text_null("error"))
            .col(big_integer_null("ended_at"))
            .primary_key(Index::create().col("destination").col("key"))
            .take();
        manager.create_table(deliveries).await?;
        let due = Index::create()
            .name("deliveries_due")
            .table("deliveries")
            .col("destination")
            .col("due_at")
            .and_where(Expr::col("due_at").is_not_null())
            .take();
        manager.create_index(due).await?;
        let cancellations = Table::create()
            .table("delivery_cancellations")
            .col(big_integer("destination"))
            .col(key(manager))
            .col(big_integer("version"))
            .col(big_integer("position"))
            .col(big_integer("by_version"))
            .col(big_integer("by_position"))
            .col(big_integer("cancelled_at"))
            .take();
        manager.create_table(cancellations).await?;
        let dead = Index::create()
            .name("deliveries_dead")
            .table("deliveries")
            .col("destination")
            .col("key")
            .and_where(Expr::col("state").eq("dead"))
            .take();
        manager.create_index(dead).await?;
        if manager.get_database_backend() == sea_orm::DbBackend::Postgres {
            // Rows are deleted, which a publication of all tables refuses for a table without a key.
            for table in ["delivery_changes", "delivery_cancellations"] {
                let sql = format!("ALTER TABLE {table} REPLICA IDENTITY FULL");
                manager.get_connection().execute_unprepared(&sql).await?;
            }
        }
        let of_key = Index::create()
            .name("delivery_cancellations_key")
            .table("delivery_cancellations")
            .col("destination")
            .col("key")
            .take();
        manager.create_index(of_key).await
    }
}

/// The text of a record's key. Rows are locked in its order, which is that of its bytes.
fn key(manager: &SchemaManager) -> ColumnDef {
    if manager.get_database_backend() == sea_orm::DbBackend::Sqlite {
        return text("key");
    }
    ColumnDef::new("key").custom("text COLLATE \"C\"").not_null().take()
}
