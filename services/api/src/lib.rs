//! Serves every record by id, and what became of every object and line.
//!
//! It only reads, from any PostgreSQL or SQLite database that the migrations were applied to, a replica included, and
//! holds no state but what it read within the last second: it scales by being started again. A dataset that stands in
//! the registry has its endpoints here.

mod access;
mod answers;
mod app;
pub mod auth;
mod cache;
mod database;
mod dataset_name;
mod datasets;
mod entity_tag;
mod head;
mod json;
mod limits;
mod lookup;
mod objects;
mod openapi;
mod paging;
mod parts;
mod problem;
mod readiness;
mod records;
mod rejects;
mod rendered;
mod sections;
mod series;
mod server;
mod settings;

pub use app::App;
pub use database::connect;
pub use server::{Bound, bind, serve};
pub use settings::{ApiSettings, DatabaseSettings};

use std::time::Duration;

use anyhow::Context;
use jetline_runtime::{PrometheusHandle, Shutdown};
use jetline_store::pooler;
use sea_orm::DatabaseConnection;

/// After so long a database that did not answer at the start is asked again what stands before it.
const CHECK_AGAIN: Duration = Duration::from_secs(1);

/// The service: opens the database, answers until the soft shutdown, and waits for what is in flight.
pub async fn run(
    settings: &ApiSettings,
    database: &DatabaseSettings,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let db = connect(database, settings).await?;
    let refused = refused(db.clone());
    let served = tokio::select! {
        served = serve(settings, db.clone(), metrics, shutdown.clone()) => served,
        refusal = refused => Err(refusal).context("cannot start"),
    };
    shutdown.soft.cancel();
    shutdown.drained().await;
    jetline_store::database::close(&db).await;
    served
}

/// Ends when the database is behind a pooler that cannot be worked with: no waiting cures that. Whatever else is wrong may be
/// mended while the service runs, which says that it is not ready.
async fn refused(db: DatabaseConnection) -> jetline_store::Error {
    loop {
        match pooler::check(&db).await {
            Err(error @ jetline_store::Error::Pooler { .. }) => return error,
            Err(_) => tokio::time::sleep(CHECK_AGAIN).await,
            Ok(()) => std::future::pending().await,
        }
    }
}
