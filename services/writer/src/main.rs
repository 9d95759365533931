//! `jetline-writer`: consumes chunks and commits them.

use clap::Parser;
use jetline_connections::{DedupSettings, connect_ledger, connect_queue, spawn_observation};
use jetline_queue::JetStreamConfig;
use jetline_runtime::{
    LifecycleSettings, ObserveSettings, Shutdown, StartupSettings, TelemetrySettings, metrics,
    telemetry,
};
use jetline_store::{DatabaseSettings, Ledger};
use jetline_writer::WriterSettings;

/// Consumes chunks of lines and commits them. Start as many as you like.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(flatten)]
    writer: WriterSettings,
    #[command(flatten)]
    queue: JetStreamConfig,
    #[command(flatten)]
    dedup: DedupSettings,
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
async fn main() -> anyhow::Result<()> {
    let cli = Cli::parse();
    telemetry::init(&cli.telemetry)?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let metrics = metrics::install(&shutdown)?;
    let db = connect_ledger(&cli.database, &cli.startup).await?;
    let queue = connect_queue(&cli.queue, &cli.startup).await?;
    let dedup = cli.dedup.connect(&cli.startup).await?;
    spawn_observation(cli.observe.observe_listen, db.clone(), metrics, &shutdown);
    let ledger = Ledger::new(db, chrono::Utc::now);
    jetline_writer::run(&cli.writer, queue, dedup, ledger, rand::random(), &shutdown).await?;
    tracing::info!("the writer ends");
    Ok(())
}
