//! `jetline-migrate`: brings the database's schema up to date, and ends.

use anyhow::Context;
use clap::Parser;
use jetline_connections::connect_database;
use jetline_migrations::migrate;
use jetline_runtime::{StartupSettings, TelemetrySettings, telemetry};
use jetline_store::DatabaseSettings;

/// Brings the database's schema up to date, and ends.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    startup: StartupSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    telemetry::init(&cli.telemetry)?;
    let db = connect_database(&cli.database, &cli.startup).await?;
    let applied = migrate(&db)
        .await
        .context("cannot bring the schema up to date (DATABASE_URL)")?;
    tracing::info!(applied, "the schema is up to date");
    Ok(())
}
