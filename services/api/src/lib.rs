//! The API: serves every record by id and in pages, and the state of every object and rejected line.
//!
//! It works on any migrated PostgreSQL or SQLite database, and reads from replicas too. It has no state except caches of some seconds:
//! it scales out by starting more of it. Every dataset has its endpoints. Where that is allowed, it takes records, which become
//! objects for the fetcher.

mod app;
pub mod auth;
mod cli;
mod database;
mod deliveries;
mod http;
mod ingestion;
mod intake;
mod openapi;
mod page;
mod queries;
mod readiness;
mod records;
mod refreshed;
mod server;
mod settings;

pub use app::{App, Changes};
pub use cli::{Cli, Command};
pub use database::open;
pub use http::path::path_segment;
pub use intake::{IntakeMode, IntakeParts, IntakeSettings, ObjectsWakeup};
pub use page::{Actions, Replay, RequestedReplay};
pub use server::{BoundServer, bind, serve};
pub use settings::{ApiSettings, DatabaseSettings};

use std::time::Duration;

use anyhow::Context;
use jetline_runtime::{PrometheusHandle, Shutdown};
use jetline_store::Database;

/// Interval between attempts to check for a pooler while the database is unavailable.
const POOLER_CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// The service: opens the database, serves until the soft shutdown, and waits for requests in flight.
pub async fn run(
    settings: &ApiSettings,
    database: &DatabaseSettings,
    changes: Changes,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let database = open(database, settings).await?;
    let unusable = unusable_pooler(&database);
    let served = tokio::select! {
        served = serve(settings, &database, changes, metrics, shutdown.clone()) => served,
        error = unusable => Err(error).context("cannot start"),
    };
    shutdown.soft.cancel();
    shutdown.drained().await;
    database.close().await;
    served
}

/// Returns when the database is behind a pooler that cannot be used, which is permanent. Other errors may be temporary:
/// the service runs and is not ready meanwhile.
async fn unusable_pooler(database: &Database) -> jetline_store::Error {
    loop {
        match database.check_pooler().await {
            Err(error @ jetline_store::Error::Pooler { .. }) => return error,
            Err(_) => tokio::time::sleep(POOLER_CHECK_INTERVAL).await,
            Ok(()) => std::future::pending().await,
        }
    }
}
