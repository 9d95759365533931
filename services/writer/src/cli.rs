//! The command line of the writer.

use std::process::ExitCode;

use clap::Parser;
use jetline_dedup::DedupSettings;
use jetline_queue::JetStreamConfig;
use jetline_runtime::{
    HealthCommand, LifecycleSettings, Observation, ObserveSettings, Shutdown, StartupSettings,
    TelemetrySettings, metrics, settings,
};
use jetline_store::{Database, DatabaseSettings, Ledger, RedactionSettings};

use crate::{WriterSettings, run};

/// What `--help` begins with.
const HELP: &str = "\
Examples:
  jetline-writer --nats-url nats://nats:4222 --redis-url redis://redis:6379 --database-url postgres://user:password@db/name
  jetline-writer healthcheck

The most common settings, each a flag and a variable:
  NATS_URL        the queue, nats://host:4222
  REDIS_URL       the dedup store, redis://host:6379
  DATABASE_URL    postgres://user:password@host/name
  WRITER_WORKERS  how many batches are written at the same time
  OBSERVE_LISTEN  the address of health and metrics
";

/// Consumes chunks of lines and commits them. Any number of writers may run.
#[derive(Parser)]
#[command(version, before_help = HELP)]
pub struct Cli {
    /// `healthcheck`; without a command, the writer runs.
    #[command(subcommand)]
    pub command: Option<HealthCommand>,
    #[command(flatten)]
    writer: WriterSettings,
    #[command(flatten)]
    redaction: RedactionSettings,
    #[command(flatten)]
    queue: JetStreamConfig,
    #[command(flatten)]
    dedup: DedupSettings,
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

impl Cli {
    /// Runs the writer until the shutdown.
    pub async fn run(self, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
        let writer = || self.writer.with_ack_wait(self.queue.nats_ack_wait);
        settings::check([
            writer().map(drop),
            self.queue.check(),
            self.dedup.check(),
            self.database.check(),
        ])?;
        let settings = WriterSettings { redact_key: self.redaction.redact_key, ..writer()? };
        let metrics = metrics::install(&shutdown)?;
        let observation = Observation::start(&self.observe, metrics, &shutdown).await?;
        let write = async |database: Database| {
            let connecting = async {
                let (identity, read) = (database.identity().await?, database.identity_reader());
                let queue = self.queue.connect(&self.startup, identity, read).await?;
                Ok((queue, self.dedup.connect(&self.startup).await?))
            };
            let (queue, dedup) = shutdown.started(connecting).await?;
            observation.connected(database.readiness());
            let ledger = Ledger::new(&database, chrono::Utc::now);
            run(&settings, queue, dedup, ledger, rand::random(), &shutdown).await?;
            tracing::info!("writer stopped");
            Ok(ExitCode::SUCCESS)
        };
        self.database.with_ledger(&self.startup, &shutdown, write).await
    }
}
