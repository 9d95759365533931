//! `jetline-fetcher`: reads what is new in its sources and publishes it.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use jetline_fetcher::{FetcherSettings, Sources};
use jetline_queue::{JetStream, JetStreamConfig};
use jetline_runtime::{
    LifecycleSettings, ObserveSettings, Shutdown, StartupSettings, TelemetrySettings, metrics,
    observe, settings::required, telemetry,
};
use jetline_source::S3Config;
use jetline_store::{DatabaseSettings, Ledger, connect, database::check_schema};

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
    let nats = required(
        cli.queue.nats_url.clone(),
        "NATS_URL",
        "the queue to publish to",
    )?;
    let url = required(
        cli.database.database_url,
        "DATABASE_URL",
        "the database of the ledger",
    )?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let metrics = metrics::install(&shutdown)?;

    let sources = Sources::open(&cli.fetcher, &cli.s3).await?;
    let connections = cli.database.database_connections;
    let db = cli
        .startup
        .connect(
            "the database (DATABASE_URL)",
            jetline_store::Error::is_passing,
            || connect(&url, connections),
        )
        .await?;
    check_schema(&db).await?;
    let queue = cli
        .startup
        .connect(
            "the queue (NATS_URL)",
            jetline_queue::Error::is_passing,
            || JetStream::connect(&nats, &cli.queue),
        )
        .await?;
    if let Some(listen) = cli.observe.observe_listen {
        let ping = db.clone();
        let ready = move || {
            let db = ping.clone();
            async move { db.ping().await.map_err(|error| error.to_string()) }
        };
        tokio::spawn(observe::serve(listen, ready, metrics, shutdown.clone()));
    }

    let ledger = Ledger::new(db, chrono::Utc::now);
    let queue = Arc::new(queue);
    let run = jetline_fetcher::run(
        &cli.fetcher,
        sources,
        queue,
        ledger,
        rand::random(),
        &shutdown,
    );
    let report = run.await?;
    println!("{report}");
    Ok(if report.is_complete() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
