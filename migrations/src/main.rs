//! `jetline-migrate`: brings the database's schema up to date, and ends.

use anyhow::Context;
use clap::Parser;
use jetline_migrations::migrate;
use jetline_runtime::{StartupSettings, TelemetrySettings, settings::required, telemetry};
use jetline_store::{DatabaseSettings, Error, address, connect};

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
    let url = required(
        cli.database.database_url,
        "DATABASE_URL",
        "the database to migrate",
    )?;
    let db = cli
        .startup
        .connect("the database (DATABASE_URL)", Error::is_passing, || {
            connect(&url, 1)
        })
        .await?;
    let applied = migrate(&db)
        .await
        .with_context(|| format!("cannot migrate {}", address(&url)))?;
    tracing::info!(
        applied,
        database = address(&url),
        "the schema is up to date"
    );
    Ok(())
}
