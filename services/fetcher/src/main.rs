//! `jetline-fetcher`: reads what is new in its sources and publishes it.

use std::{process::ExitCode, sync::Arc};

use clap::Parser;
use jetline_connections::{Observation, connect_ledger, connect_queue};
use jetline_fetcher::{FetcherSettings, ReplaySettings, Replayed, Sources, replay};
use jetline_queue::{JetStreamConfig, Queue};
use jetline_runtime::{
    HealthCommand, LifecycleSettings, ObserveSettings, Shutdown, StartupSettings,
    TelemetrySettings, metrics, settings, telemetry,
};
use jetline_source::S3Config;
use jetline_store::{DatabaseSettings, Ledger};

/// Reads what is new in its sources, publishes it, and ends when everything is committed. Start as many as you like.
#[derive(Parser)]
#[command(version)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
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

#[derive(clap::Subcommand)]
enum Command {
    #[command(flatten)]
    Health(HealthCommand),
    /// Have objects read again, from one of them on, after the cause of a failure or of rejections is gone
    Replay(ReplaySettings),
}

#[tokio::main]
#[expect(clippy::print_stdout, reason = "the summary is what the job prints")]
async fn main() -> anyhow::Result<ExitCode> {
    let cli: Cli = settings::parse();
    if let Some(Command::Health(HealthCommand::Healthcheck)) = cli.command {
        return cli.observe.healthcheck().await.map(|()| ExitCode::SUCCESS);
    }
    let _telemetry = telemetry::init(&cli.telemetry, env!("CARGO_BIN_NAME"))?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    if let Some(Command::Replay(which)) = &cli.command {
        println!("{}", shutdown.started(cli.replay(which)).await?);
        return Ok(ExitCode::SUCCESS);
    }
    let metrics = metrics::install(&shutdown)?;
    let observation = Observation::start(&cli.observe, metrics, &shutdown).await?;
    let (sources, ledger, queue) = shutdown.started(cli.connect()).await?;
    observation.connected(ledger.connection().clone());
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

impl Cli {
    async fn replay(&self, which: &ReplaySettings) -> anyhow::Result<Replayed> {
        let sources = Sources::open(&self.fetcher, &self.s3, &self.startup).await?;
        let db = connect_ledger(&self.database, &self.startup).await?;
        let ledger = Ledger::new(db, chrono::Utc::now);
        replay(which, &self.fetcher, &sources, &ledger, rand::random()).await
    }

    async fn connect(&self) -> anyhow::Result<(Sources, Ledger, Arc<dyn Queue>)> {
        let sources = Sources::open(&self.fetcher, &self.s3, &self.startup).await?;
        let db = connect_ledger(&self.database, &self.startup).await?;
        let queue = connect_queue(&self.queue, &self.startup).await?;
        Ok((sources, Ledger::new(db, chrono::Utc::now), queue))
    }
}
