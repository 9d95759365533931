//! `jetline`: fetcher, writer and API in one process, with embedded parts or with the servers whose addresses are set.

mod load;
mod parts;
mod settings;
mod terminal;

use std::process::ExitCode;

use jetline_connections::with_database;
use jetline_fetcher::{DismissSettings, ReplaySettings};
use jetline_runtime::{HealthCommand, Shutdown, healthcheck, output, telemetry};
use jetline_store::Ledger;
use sea_orm::DatabaseConnection;

use crate::{
    load::load,
    parts::{sources, up_to_date},
    settings::{Cli, Command},
};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::from_args();
    if let Some(Command::Health(HealthCommand::Healthcheck)) = cli.command {
        return healthcheck(cli.api.listen).await.map(|()| ExitCode::SUCCESS);
    }
    let _telemetry = telemetry::init(&cli.telemetry, env!("CARGO_BIN_NAME"))?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    if let Some(Command::Replay(which)) = &cli.command {
        replay(&cli, which, &shutdown).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Dismiss(which)) = &cli.command {
        dismiss(&cli, which, &shutdown).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let sources = shutdown.started(sources(&cli)).await?;
    let load = async |db| load(&cli, sources, db, &shutdown).await;
    let complete = with_database(&cli.database, &cli.startup, &shutdown, load).await?;
    Ok(if complete { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Marks objects to be read again by the next run.
async fn replay(cli: &Cli, which: &ReplaySettings, shutdown: &Shutdown) -> anyhow::Result<()> {
    let sources = shutdown.started(sources(cli)).await?;
    let replay = async |db: DatabaseConnection| {
        let replaying = async {
            up_to_date(&db).await?;
            let ledger = Ledger::new(db, chrono::Utc::now);
            jetline_fetcher::replay(which, &cli.fetcher, &sources, &ledger, rand::random()).await
        };
        shutdown.started(replaying).await
    };
    output::print(with_database(&cli.database, &cli.startup, shutdown, replay).await?)
}

/// Stops counting a failed object.
async fn dismiss(cli: &Cli, which: &DismissSettings, shutdown: &Shutdown) -> anyhow::Result<()> {
    let dismiss = async |db: DatabaseConnection| {
        let dismissing = async {
            up_to_date(&db).await?;
            let ledger = Ledger::new(db, chrono::Utc::now);
            jetline_fetcher::dismiss(which, &ledger, rand::random()).await
        };
        shutdown.started(dismissing).await
    };
    output::print(with_database(&cli.database, &cli.startup, shutdown, dismiss).await?)
}
