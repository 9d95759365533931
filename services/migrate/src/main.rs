//! `jetline-migrate`: applies the missing migrations to the database.

use anyhow::Context;
use clap::Parser;
use jetline_connections::{DatabaseConnection, with_database};
use jetline_migrations::migrate;
use jetline_runtime::{
    LifecycleSettings, Shutdown, StartupSettings, TelemetrySettings, settings, telemetry,
};
use jetline_store::DatabaseSettings;

/// Applies the missing migrations to the database, and exits.
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
    // PID 1 of a container gets only signals that it handles.
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let migrate = async |db: DatabaseConnection| shutdown.started(up_to_date(&db)).await;
    let applied = with_database(&cli.database, &cli.startup, &shutdown, migrate).await?;
    tracing::info!(applied, "schema is up to date");
    Ok(())
}

/// Applies the missing migrations and returns how many. If interrupted, the current one is rolled back.
async fn up_to_date(db: &DatabaseConnection) -> anyhow::Result<usize> {
    migrate(db).await.context("cannot bring the schema up to date (DATABASE_URL)")
}
