//! `jetline-fetcher`: reads what is new in its sources and publishes it.

use std::process::ExitCode;

use clap::Parser;
use jetline_connections::{connect_ledger, connect_queue, spawn_observation};
use jetline_fetcher::{FetcherSettings, Sources};
use jetline_queue::JetStreamConfig;
use jetline_runtime::{
    LifecycleSettings, ObserveSettings, Shutdown, StartupSettings, TelemetrySettings, metrics,
    telemetry,
};
use jetline_source::S3Config;
use jetline_store::{DatabaseSettings, Ledger};

/// Reads what is new in its sources, publishes it, and ends when everything is committed. Start as many as you like.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    fetcher: FetcherSettings,
    #[command(flatten)]
    s3: S3Config,
    #[command(flatten)]
    queue: JetStreamConfig,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    startup: StartupSettings,
    #[command(flatten)]
    lifecycle: LifecycleSettings,
    #[command(flatten)]
    observe: ObserveSettings,
    #[command(flatten)]
    telemetry: TelemetrySettings,
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the summary is what the job prints")]
async fn main() -> anyhow::Result<ExitCode> {
    let cli = Cli::parse();
    telemetry::init(&cli.telemetry)?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let metrics = metrics::install(&shutdown)?;
    let sources = Sources::open(&cli.fetcher, &cli.s3, &cli.startup).await?;
    let db = connect_ledger(&cli.database, &cli.startup).await?;
    let queue = connect_queue(&cli.queue, &cli.startup).await?;
    spawn_observation(cli.observe.observe_listen, db.clone(), metrics, &shutdown);
    let ledger = Ledger::new(db, chrono::Utc::now);
    let seed = rand::random();
    let report =
        jetline_fetcher::run(&cli.fetcher, sources, queue, ledger, seed, &shutdown).await?;
    println!("{report}");
    Ok(if report.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
