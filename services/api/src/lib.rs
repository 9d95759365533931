//! Serves every record by id, and what became of every object and line.
//!
//! It only reads, from any PostgreSQL or SQLite database that the migrations were applied to, a replica included, and
//! holds no state but what it read within the last second: it scales by being started again. A dataset that stands in
//! the registry has its endpoints here.

mod access;
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
mod problem;
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

use jetline_runtime::{PrometheusHandle, Shutdown};

/// The service: opens the database, answers until the soft shutdown, and waits for what is in flight.
pub async fn run(
    settings: &ApiSettings,
    database: &DatabaseSettings,
    metrics: PrometheusHandle,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    let db = connect(database, settings).await?;
    serve(settings, db, metrics, shutdown.clone()).await?;
    shutdown.drained().await;
    Ok(())
}
