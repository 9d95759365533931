//! `jetline-writer`: consumes chunks and commits them.

use std::sync::Arc;

use clap::Parser;
use jetline_connections::{DedupSettings, Observation, connect_ledger, connect_queue};
use jetline_dedup::Dedup;
use jetline_queue::{JetStreamConfig, Queue};
use jetline_runtime::{
    HealthCommand, LifecycleSettings, ObserveSettings, Shutdown, StartupSettings,
    TelemetrySettings, metrics, settings, telemetry,
};
use jetline_store::{DatabaseSettings, Ledger};
use jetline_writer::WriterSettings;

/// Consumes chunks of lines and commits them. Start as many as you like.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<HealthCommand>,
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
    let cli: Cli = settings::parse();
    if let Some(HealthCommand::Healthcheck) = cli.command {
        return cli.observe.healthcheck().await;
    }
    let _telemetry = telemetry::init(&cli.telemetry, env!("CARGO_BIN_NAME"))?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let metrics = metrics::install(&shutdown)?;
    let observation = Observation::start(&cli.observe, metrics, &shutdown).await?;
    let (ledger, queue, dedup) = shutdown.started(cli.connect()).await?;
    observation.connected(ledger.connection().clone());
    jetline_writer::run(&cli.writer, queue, dedup, ledger, rand::random(), &shutdown).await?;
    tracing::info!("the writer ends");
    Ok(())
}

impl Cli {
    async fn connect(&self) -> anyhow::Result<(Ledger, Arc<dyn Queue>, Arc<dyn Dedup>)> {
        let db = connect_ledger(&self.database, &self.startup).await?;
        let queue = connect_queue(&self.queue, &self.startup).await?;
        let dedup = self.dedup.connect(&self.startup).await?;
        Ok((Ledger::new(db, chrono::Utc::now), queue, dedup))
    }
}
