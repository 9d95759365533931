//! `jetline-writer`: consumes chunks and commits them.

use std::sync::Arc;

use clap::Parser;
use jetline_connections::{
    DatabaseConnection, DedupSettings, Observation, connect_queue, with_ledger,
};
use jetline_dedup::Dedup;
use jetline_queue::{JetStreamConfig, Queue};
use jetline_runtime::{
    HealthCommand, LifecycleSettings, ObserveSettings, Shutdown, StartupSettings,
    TelemetrySettings, metrics, settings, telemetry,
};
use jetline_store::{DatabaseSettings, Ledger};
use jetline_writer::WriterSettings;

/// Consumes chunks of lines and commits them. Any number of writers may run.
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
    let writer = cli.writer.with_ack_wait(cli.queue.nats_ack_wait)?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    let metrics = metrics::install(&shutdown)?;
    let observation = Observation::start(&cli.observe, metrics, &shutdown).await?;
    let write = async |db: DatabaseConnection| {
        let ledger = Ledger::new(db.clone(), chrono::Utc::now);
        let (queue, dedup) = shutdown.started(cli.connect(&ledger)).await?;
        observation.connected(db);
        jetline_writer::run(&writer, queue, dedup, ledger, rand::random(), &shutdown).await?;
        tracing::info!("writer stopped");
        Ok(())
    };
    with_ledger(&cli.database, &cli.startup, &shutdown, write).await
}

impl Cli {
    async fn connect(&self, ledger: &Ledger) -> anyhow::Result<(Arc<dyn Queue>, Arc<dyn Dedup>)> {
        let queue = connect_queue(&self.queue, &self.startup, ledger).await?;
        let dedup = self.dedup.connect(&self.startup).await?;
        Ok((queue, dedup))
    }
}
