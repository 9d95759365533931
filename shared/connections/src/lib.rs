//! The real parts, connected as the settings say: what every service does before it starts.
//!
//! A server that does not answer yet is waited for, as long as [`StartupSettings`] say. A setting that is missing or wrong
//! ends the start with an error that names it; nothing is ever replaced by an embedded part.

mod dedup;
mod observation;

use std::sync::Arc;

use anyhow::{Context, ensure};
pub use dedup::{DedupMode, DedupSettings};
use jetline_queue::{JetStream, JetStreamConfig, Queue};
use jetline_runtime::{StartupSettings, settings::required};
use jetline_store::{DatabaseSettings, address, database};
pub use observation::Observation;
use sea_orm::DatabaseConnection;

/// Connects to the database of `DATABASE_URL`.
pub async fn connect_database(
    settings: &DatabaseSettings,
    startup: &StartupSettings,
) -> anyhow::Result<DatabaseConnection> {
    let purpose = "the database, as in postgres://user:password@host/name";
    let url = required(settings.database_url.as_deref(), "DATABASE_URL", purpose)?;
    // The driver would repeat in its error what it cannot read, a password too.
    ensure!(
        ["postgres://", "postgresql://", "sqlite:"]
            .iter()
            .any(|scheme| url.starts_with(scheme)),
        "DATABASE_URL must begin with postgres:// or sqlite://"
    );
    let connections = settings.database_connections;
    startup
        .connect(
            "the database (DATABASE_URL)",
            jetline_store::Error::is_passing,
            || database::connect(url, connections),
        )
        .await
        .with_context(|| format!("no connection to {}", address(url)))
}

/// Connects to the database of `DATABASE_URL`, to which the migrations must have been applied.
pub async fn connect_ledger(
    settings: &DatabaseSettings,
    startup: &StartupSettings,
) -> anyhow::Result<DatabaseConnection> {
    let db = connect_database(settings, startup).await?;
    database::check_schema(&db).await?;
    Ok(db)
}

/// Connects to the queue of `NATS_URL`.
pub async fn connect_queue(
    config: &JetStreamConfig,
    startup: &StartupSettings,
) -> anyhow::Result<Arc<dyn Queue>> {
    let purpose = "the queue between fetchers and writers, as in nats://host:4222";
    let url = required(config.nats_url.as_ref(), "NATS_URL", purpose)?.parse("NATS_URL")?;
    let queue = startup
        .connect(
            "the queue (NATS_URL)",
            jetline_queue::Error::is_passing,
            || JetStream::connect(&url, config),
        )
        .await?;
    Ok(Arc::new(queue))
}
