//! `jetline-fetcher`: reads what is new in its sources and publishes it.

use std::process::ExitCode;

use clap::Parser;
use jetline_connections::{
    DatabaseConnection, Observation, connect_queue, own_database, with_ledger,
};
use jetline_fetcher::{
    DismissSettings, FetcherSettings, ReplaySettings, Report, Sources, dismiss, replay,
};
use jetline_queue::JetStreamConfig;
use jetline_runtime::{
    HealthCommand, LifecycleSettings, ObserveSettings, Shutdown, StartupSettings,
    TelemetrySettings, metrics, output, settings, telemetry,
};
use jetline_source::S3Config;
use jetline_store::{DatabaseSettings, Ledger};

/// Reads new objects of its sources, publishes them, and exits when everything is committed. Any number may run.
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
    /// Read objects again, from one of them on, after the cause of a failure or of rejections was removed
    Replay(ReplaySettings),
    /// Stop counting a failed object, and end one that stays open because reading it is refused
    Dismiss(DismissSettings),
}

#[tokio::main]
async fn main() -> anyhow::Result<ExitCode> {
    let cli: Cli = settings::parse();
    if let Some(Command::Health(HealthCommand::Healthcheck)) = cli.command {
        return cli.observe.healthcheck().await.map(|()| ExitCode::SUCCESS);
    }
    let _telemetry = telemetry::init(&cli.telemetry, env!("CARGO_BIN_NAME"))?;
    let shutdown = Shutdown::on_signals(cli.lifecycle.shutdown_deadline)?;
    if let Some(Command::Replay(which)) = &cli.command {
        cli.replay(which, &shutdown).await?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(Command::Dismiss(which)) = &cli.command {
        cli.dismiss(which, &shutdown).await?;
        return Ok(ExitCode::SUCCESS);
    }
    let report = cli.fetch(&shutdown).await?;
    output::print(&report)?;
    Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

impl Cli {
    async fn replay(&self, which: &ReplaySettings, shutdown: &Shutdown) -> anyhow::Result<()> {
        let sources = shutdown.started(self.sources()).await?;
        let replay = async |db: DatabaseConnection| {
            let ledger = Ledger::new(db, chrono::Utc::now);
            let seed = rand::random();
            let replaying = replay(which, &self.fetcher, &sources, &ledger, seed);
            shutdown.started(replaying).await
        };
        let replayed = with_ledger(&self.database, &self.startup, shutdown, replay).await?;
        output::print(replayed)
    }

    async fn dismiss(&self, which: &DismissSettings, shutdown: &Shutdown) -> anyhow::Result<()> {
        let dismiss = async |db: DatabaseConnection| {
            let ledger = Ledger::new(db, chrono::Utc::now);
            let dismissing = dismiss(which, &ledger, rand::random());
            shutdown.started(dismissing).await
        };
        let dismissed = with_ledger(&self.database, &self.startup, shutdown, dismiss).await?;
        output::print(dismissed)
    }

    async fn fetch(&self, shutdown: &Shutdown) -> anyhow::Result<Report> {
        let metrics = metrics::install(shutdown)?;
        let observation = Observation::start(&self.observe, metrics, shutdown).await?;
        let sources = shutdown.started(self.sources()).await?;
        let fetch = async |db: DatabaseConnection| {
            let (ledger, seed) = (Ledger::new(db.clone(), chrono::Utc::now), rand::random());
            let connecting = connect_queue(&self.queue, &self.startup, &ledger);
            let queue = shutdown.started(connecting).await?;
            observation.connected(db);
            jetline_fetcher::run(&self.fetcher, sources, queue, ledger, seed, shutdown).await
        };
        with_ledger(&self.database, &self.startup, shutdown, fetch).await
    }

    async fn sources(&self) -> anyhow::Result<Sources> {
        let own = own_database(&self.database);
        Sources::open(&self.fetcher, &self.s3, &self.startup, &own).await
    }
}
