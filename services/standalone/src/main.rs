//! `jetline`: fetcher, writer and API in one process, on embedded parts or on the real ones whose addresses are set.

mod parts;
mod settings;

use std::{net::SocketAddr, process::ExitCode};

use anyhow::Context;
use jetline_fetcher::Report;
use jetline_records::products;
use jetline_runtime::{Shutdown, metrics, telemetry};
use sea_orm::EntityTrait;

use crate::{parts::Parts, settings::Cli};

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::from_args();
    telemetry::init(&cli.telemetry)?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
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
    let parts = Parts::connect(&cli).await?;
    let api = jetline_api::bind(&cli.api, parts.db.clone(), metrics, shutdown.clone()).await?;
    let address = api.address();
    let serving = tokio::spawn(api.serve());
    let writing = parts.spawn_writer(shutdown).await.context("the writer cannot begin")?;

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
    let example = products::Entity::find().one(&parts.db).await;
    let example = example.ok().flatten().map_or(1, |product| product.id);
    tell(&report, address, interrupted, cli.exit, example);
    if cli.exit {
        shutdown.soft.cancel();
    }
    serving.await.context("the api crashed")??;
    Ok(report.is_complete() && (!interrupted || !cli.exit))
}

#[expect(
    clippy::print_stdout,
    reason = "this is what a person at the terminal reads"
)]
fn tell(report: &Report, address: SocketAddr, interrupted: bool, exit: bool, example: i64) {
    println!("{report}");
    if interrupted {
        println!("Interrupted: start again to go on where it was.");
    } else if !exit {
        println!(
            "\nServing http://{address} until Ctrl-C. Try:\n  \
             curl http://{address}/products/{example}\n  \
             curl http://{address}/objects\n  \
             curl http://{address}/rejects\n  \
             http://{address}/docs in a browser"
        );
    }
}
