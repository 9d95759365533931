//! Connects a service to its servers at start.
//!
//! A server that does not answer is retried until the startup timeout of [`StartupSettings`]. A missing or invalid setting
//! is an error that names it; nothing is replaced by an embedded part.

mod dedup;
mod observation;

use std::sync::Arc;

use anyhow::Context;
pub use dedup::{DedupMode, DedupSettings};
use jetline_queue::{JetStream, JetStreamConfig, OwnLedger, Queue};
use jetline_runtime::{Shutdown, StartupSettings, settings::required};
use jetline_source::OwnDatabase;
use jetline_store::{DatabaseSettings, Ledger, database};
pub use observation::Observation;
pub use sea_orm::DatabaseConnection;

/// Runs `work` with the database of `DATABASE_URL`, and closes it after the work and all tasks of the service have ended.
pub async fn with_database<T>(
    settings: &DatabaseSettings,
    startup: &StartupSettings,
    shutdown: &Shutdown,
    work: impl AsyncFnOnce(DatabaseConnection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let connecting = connect_database(settings, startup);
    let db = shutdown.started(connecting).await?;
    let worked = Box::pin(work(db.clone())).await;
    shutdown.soft.cancel();
    shutdown.drained().await;
    database::close(&db).await;
    worked
}

/// Like [`with_database`], but fails unless all migrations are applied.
pub async fn with_ledger<T>(
    settings: &DatabaseSettings,
    startup: &StartupSettings,
    shutdown: &Shutdown,
    work: impl AsyncFnOnce(DatabaseConnection) -> anyhow::Result<T>,
) -> anyhow::Result<T> {
    let checked = async |db| {
        let checking = async { Ok(database::check_schema(&db).await?) };
        shutdown.started(checking).await?;
        work(db).await
    };
    with_database(settings, startup, shutdown, checked).await
}

/// The files of the database of `DATABASE_URL`, which no source may list as objects.
#[must_use]
pub fn own_database(settings: &DatabaseSettings) -> OwnDatabase {
    let url = settings.database_url.as_ref();
    OwnDatabase::new(url.and_then(|url| database::file(url.expose())))
}

async fn connect_database(
    settings: &DatabaseSettings,
    startup: &StartupSettings,
) -> anyhow::Result<DatabaseConnection> {
    let purpose = "the database, as in postgres://user:password@host/name";
    let url = required(settings.database_url.as_ref(), "DATABASE_URL", purpose)?;
    let checked = database::checked(url.expose()).context("DATABASE_URL is malformed")?;
    let connections = settings.database_connections;
    startup
        .connect("the database (DATABASE_URL)", jetline_store::Error::is_transient, || {
            database::connect(&checked, connections)
        })
        .await
        .with_context(|| format!("cannot connect to {url}"))
}

/// Connects to the queue of `NATS_URL`, for the chunks of `ledger`.
pub async fn connect_queue(
    config: &JetStreamConfig,
    startup: &StartupSettings,
    ledger: &Ledger,
) -> anyhow::Result<Arc<dyn Queue>> {
    let purpose = "the queue between fetchers and writers, as in nats://host:4222";
    let servers = required(config.nats_url.as_ref(), "NATS_URL", purpose)?.parse();
    let servers = servers.map_err(anyhow::Error::msg)?;
    let identity = ledger.identity().await?;
    let ledger = ledger.clone();
    let own = Arc::new(OwnLedger::new(identity, move || {
        let ledger = ledger.clone();
        Box::pin(async move {
            let asked = ledger.identity().await.inspect_err(|error| {
                let error = error as &dyn std::error::Error;
                tracing::debug!(error, "read ledger identity failed");
            });
            asked.ok()
        })
    }));
    let queue = startup
        .connect("the queue (NATS_URL)", jetline_queue::Error::is_transient, || {
            JetStream::connect(&servers, config, Some(own.clone()))
        })
        .await?;
    Ok(Arc::new(queue))
}
