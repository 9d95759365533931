//! `jetline`: fetcher, writer and API in one process, on embedded parts or on the real ones whose addresses are set.

mod parts;
mod settings;

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context;
use jetline_fetcher::Report;
use jetline_records::products;
use jetline_runtime::{HealthCommand, Shutdown, healthcheck, metrics, telemetry};
use sea_orm::{DatabaseConnection, EntityTrait};

use crate::{
    parts::{Parts, replay},
    settings::{Cli, Command},
};

#[tokio::main]
#[expect(clippy::print_stdout, reason = "what a person at the terminal reads")]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::from_args();
    if let Some(Command::Health(HealthCommand::Healthcheck)) = cli.command {
        return healthcheck(cli.api.listen)
            .await
            .map(|()| ExitCode::SUCCESS);
    }
    let _telemetry = telemetry::init(&cli.telemetry, env!("CARGO_BIN_NAME"))?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    if let Some(Command::Replay(which)) = &cli.command {
        println!("{}", shutdown.started(replay(&cli, which)).await?);
        return Ok(ExitCode::SUCCESS);
    }
    let complete = run(cli, &shutdown).await?;
    Ok(if complete {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Loads, then serves; says whether everything was committed.
async fn run(cli: Cli, shutdown: &Shutdown) -> anyhow::Result<bool> {
    let metrics = metrics::install(shutdown)?;
    let parts = shutdown.started(Parts::connect(&cli)).await?;
    let api = jetline_api::bind(&cli.api, parts.db.clone(), metrics, shutdown.clone()).await?;
    let address = api.address();
    let serving = tokio::spawn(api.serve());
    let writing = parts
        .spawn_writer(shutdown)
        .await
        .context("the writer cannot begin")?;

    if parts.fetcher.watch.is_some() {
        tell_urls(address, &parts.db).await;
    }
    let fetching = jetline_fetcher::run(
        &parts.fetcher,
        parts.sources,
        parts.queue,
        parts.ledger,
        rand::random(),
        shutdown,
    );
    let result = tokio::select! {
        result = fetching => result,
        result = writing => match result.context("the writer crashed")? {
            Ok(()) => Ok(Report::default()),
            Err(error) => Err(error).context("the writer ended"),
        },
    };
    let report = result.inspect_err(|_| shutdown.soft.cancel())?;
    let interrupted = shutdown.soft.is_cancelled();
    tell(&report, interrupted);
    if !interrupted && !cli.exit {
        tell_urls(address, &parts.db).await;
    }
    if cli.exit {
        shutdown.soft.cancel();
    }
    serving.await.context("the api crashed")?;
    Ok(report.is_complete() && (!interrupted || !cli.exit))
}

#[expect(clippy::print_stdout, reason = "what a person at the terminal reads")]
fn tell(report: &Report, interrupted: bool) {
    println!("{report}");
    if interrupted {
        println!("Interrupted: start again to go on where it was.");
    }
}

#[expect(clippy::print_stdout, reason = "what a person at the terminal reads")]
async fn tell_urls(address: SocketAddr, db: &DatabaseConnection) {
    println!("\nServing http://{address} until Ctrl-C. Try:");
    if let Ok(Some(product)) = products::Entity::find().one(db).await {
        println!("  curl http://{address}/products/{}", product.id);
    }
    println!(
        "  curl http://{address}/objects\n  \
         curl http://{address}/rejects\n  \
         http://{address}/docs in a browser"
    );
}
