//! The schema of the database, one file per migration.

mod m0001_ledger;
mod m0002_products;
mod m0003_outdone;
mod m0004_refusals;
mod m0005_dismissed;
mod m0006_chunk_lines;
mod m0007_identity;
mod m0008_unclaimed;
mod m0009_replayed;
mod m0010_declarations;
mod m0011_deleted;
mod m0012_object_dataset;
mod m0013_unknown_fields;
mod m0014_dropped;
mod m0015_deliveries;
mod m0016_api_keys;
mod m0017_intake;
mod m0018_read_position;
mod m0019_replay_requests;
mod m0020_removed_objects;
mod m0021_epoch_unlogged;
mod m0022_listed_objects;
mod record_table;

use sea_orm::{
    ConnectionTrait, DatabaseConnection, DbBackend, DbErr, SqliteTransactionMode,
    TransactionOptions, TransactionTrait,
};
use sea_orm_migration::{MigrationTrait, MigratorTrait, async_trait};

/// The key of the advisory lock for migrating: services that start at the same time migrate one after another.
const MIGRATION_LOCK: i64 = 0x6a65_746c_696e_6500;

/// Applies all pending migrations in one transaction; returns their number.
pub async fn migrate(db: &DatabaseConnection) -> Result<usize, DbErr> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    let tx = db.begin_with_options(options).await?;
    if tx.get_database_backend() == DbBackend::Postgres {
        tx.execute_unprepared(&format!("SELECT pg_advisory_xact_lock({MIGRATION_LOCK})")).await?;
    }
    let pending = Migrator::get_pending_migrations(&tx).await?.len();
    Migrator::up(&tx, None).await?;
    tx.commit().await?;
    Ok(pending)
}

/// All migrations, in order.
pub struct Migrator;

#[async_trait::async_trait]
impl MigratorTrait for Migrator {
    fn migrations() -> Vec<Box<dyn MigrationTrait>> {
        vec![
            Box::new(m0001_ledger::Migration),
            Box::new(m0002_products::Migration),
            Box::new(m0003_outdone::Migration),
            Box::new(m0004_refusals::Migration),
            Box::new(m0005_dismissed::Migration),
            Box::new(m0006_chunk_lines::Migration),
            Box::new(m0007_identity::Migration),
            Box::new(m0008_unclaimed::Migration),
            Box::new(m0009_replayed::Migration),
            Box::new(m0010_declarations::Migration),
            Box::new(m0011_deleted::Migration),
            Box::new(m0012_object_dataset::Migration),
            Box::new(m0013_unknown_fields::Migration),
            Box::new(m0014_dropped::Migration),
            Box::new(m0015_deliveries::Migration),
            Box::new(m0016_api_keys::Migration),
            Box::new(m0017_intake::Migration),
            Box::new(m0018_read_position::Migration),
            Box::new(m0019_replay_requests::Migration),
            Box::new(m0020_removed_objects::Migration),
            Box::new(m0021_epoch_unlogged::Migration),
            Box::new(m0022_listed_objects::Migration),
        ]
    }
}
