//! The command line of the fetcher.

use std::process::ExitCode;

use anyhow::bail;
use clap::{Parser, Subcommand};
use jetline_queue::JetStreamConfig;
use jetline_runtime::{
    HealthCommand, LifecycleSettings, Observation, ObserveSettings, Shutdown, StartupSettings,
    TelemetrySettings, metrics,
    output::{self, OutputSettings},
    settings::{self, Invalid},
};
use jetline_source::{IntakeStore, OwnDatabase, S3Config};
use jetline_store::{Database, DatabaseSettings, Ledger};

use crate::{
    DismissSettings, FetcherSettings, LedgerCommand, ReplaySettings, Report, Sources, dismiss,
    drop::{DropSettings, drop_dataset},
    replay, run,
};

/// What `--help` begins with.
const HELP: &str = "\
Examples:
  jetline-fetcher --source 's3://bucket/orders/*.csv.gz' --watch 30s
  jetline-fetcher status
  jetline-fetcher replay --object 7 --dry-run

The most common settings, each a flag and a variable:
  SOURCE          what to load: s3://bucket/prefix, directories, files
  WATCH           list the sources again at this interval
  NATS_URL        the queue, nats://host:4222
  DATABASE_URL    postgres://user:password@host/name
  OBSERVE_LISTEN  the address of health and metrics
";

/// Reads new objects of its sources, publishes them, and exits when everything is committed. Any number may run.
#[derive(Parser)]
#[command(version, before_help = HELP)]
pub struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    output: OutputSettings,
    #[command(flatten)]
    fetcher: FetcherSettings,
    #[command(flatten)]
    intake: IntakeStore,
    #[command(flatten)]
    s3: S3Config,
    #[command(flatten)]
    queue: JetStreamConfig,
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    startup: StartupSettings,
    /// How long a shutdown may take.
    #[command(flatten)]
    pub lifecycle: LifecycleSettings,
    /// The monitoring address.
    #[command(flatten)]
    pub observe: ObserveSettings,
    /// Logs and traces.
    #[command(flatten)]
    pub telemetry: TelemetrySettings,
}

/// The commands of every program that fetches.
#[derive(Subcommand)]
pub enum Command {
    /// Checks the running process.
    #[command(flatten)]
    Health(HealthCommand),
    /// Read objects again, from one of them on, after the cause of a failure or of rejections was removed
    Replay(ReplaySettings),
    /// Stop counting a failed object, and end one that stays open because reading it is refused
    Dismiss(DismissSettings),
    /// Remove a dataset: its table, its declarations, and what the ledger has of its objects
    Drop(DropSettings),
    /// Shows what is in the ledger.
    #[command(flatten)]
    Ledger(LedgerCommand),
}

impl Cli {
    /// Whether the running process is to be checked.
    #[must_use]
    pub fn is_healthcheck(&self) -> bool {
        matches!(self.command, Some(Command::Health(HealthCommand::Healthcheck)))
    }

    /// Runs the command, or fetches.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
        self.output.apply();
        if let Some(Command::Ledger(command)) = &self.command {
            return command.run(&self.database, &self.startup, &shutdown).await;
        }
        if let Some(command) = &self.command {
            let work = async |database: Database| {
                let sources = self.sources(&database);
                shutdown.started(command.run(sources, &database)).await
            };
            let done = self.database.with_ledger(&self.startup, &shutdown, work).await?;
            output::print(done)?;
            return Ok(ExitCode::SUCCESS);
        }
        settings::check([self.fetcher.check_limits(), self.queue.check(), self.database.check()])?;
        let report = self.fetch(&shutdown).await?;
        output::print_result(&report)?;
        Ok(if report.is_complete() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
    }

    async fn fetch(&self, shutdown: &Shutdown) -> anyhow::Result<Report> {
        let metrics = metrics::install(shutdown)?;
        let observation = Observation::start(&self.observe, metrics, shutdown).await?;
        let fetch = async |database: Database| {
            let connecting = async {
                let (settings, sources) = self.sources(&database).await?;
                let (identity, read) = (database.identity().await?, database.identity_reader());
                let queue = self.queue.connect(&self.startup, identity, read).await?;
                anyhow::Ok((settings, sources, queue))
            };
            let (settings, sources, queue) = shutdown.started(connecting).await?;
            observation.connected(database.readiness());
            run(&settings, sources, queue, &database, rand::random(), shutdown).await
        };
        self.database.with_ledger(&self.startup, shutdown, fetch).await
    }

    /// The sources of the settings, or those that are declared, with settings to read them.
    async fn sources(&self, database: &Database) -> anyhow::Result<(FetcherSettings, Sources)> {
        let settings = self.fetcher.with_declared_sources(&database.datasets().await?)?;
        let own = OwnDatabase::new(self.database.file());
        let sources = Sources::open(&settings, &self.intake, &self.s3, &self.startup, &own).await?;
        Ok((settings, sources))
    }
}

impl Command {
    /// Runs the command on a migrated database; returns what it did, to be printed. `sources` is awaited only where the
    /// command needs them: `dismiss` works without access to the sources.
    pub async fn run(
        &self,
        sources: impl Future<Output = anyhow::Result<(FetcherSettings, Sources)>>,
        database: &Database,
    ) -> anyhow::Result<String> {
        let ledger = Ledger::new(database, chrono::Utc::now).objects;
        let seed = rand::random();
        Ok(match self {
            Self::Replay(args) => {
                let (settings, sources) = sources.await?;
                if settings.source.is_empty() && !sources.have_intake() {
                    bail!(Invalid::new(
                        "give the sources that the objects are in: SOURCE, --source or INTAKE_STORE"
                    ));
                }
                replay(args, &settings, &sources, &ledger, seed).await?.to_string()
            }
            Self::Dismiss(args) => dismiss(args, &ledger, seed).await?,
            Self::Drop(args) => drop_dataset(args, database).await?,
            Self::Health(_) | Self::Ledger(_) => String::new(),
        })
    }
}
