//! `jetline-migrate`: brings the database's schema up to date, and ends.

use anyhow::Context;
use clap::Parser;
use jetline_connections::{DatabaseConnection, with_database};
use jetline_migrations::migrate;
use jetline_runtime::{
    LifecycleSettings, Shutdown, StartupSettings, TelemetrySettings, settings, telemetry,
};
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
    lifecycle: LifecycleSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let cli: Cli = settings::parse();
    let _telemetry = telemetry::init(&cli.telemetry, env!("CARGO_BIN_NAME"))?;
    // A program that is alone in a container gets no signal that it does not listen for.
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let migrate = async |db: DatabaseConnection| shutdown.started(up_to_date(&db)).await;
    let applied = with_database(&cli.database, &cli.startup, &shutdown, migrate).await?;
    tracing::info!(applied, "the schema is up to date");
    Ok(())
}

/// How many migrations were applied. Where it is broken off, the one at work is undone.
async fn up_to_date(db: &DatabaseConnection) -> anyhow::Result<usize> {
    migrate(db)
        .await
        .context("cannot bring the schema up to date (DATABASE_URL)")
}
