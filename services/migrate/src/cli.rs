//! The command line of `jetline-migrate`.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use jetline_migrations::migrate;
use jetline_runtime::{LifecycleSettings, Shutdown, StartupSettings, TelemetrySettings};
use jetline_store::{Database, DatabaseSettings, DatasetSettings};

/// What `--help` begins with.
const HELP: &str = "\
Examples:
  jetline-migrate --database-url postgres://user:password@db/name --datasets datasets/

The most common settings, each a flag and a variable:
  DATABASE_URL  postgres://user:password@host/name
  DATASETS      the declarations of datasets
";

/// Applies the missing migrations and the declarations of datasets to the database, and exits.
#[derive(Parser)]
#[command(version, before_help = HELP)]
pub(crate) struct Cli {
    #[command(flatten)]
    database: DatabaseSettings,
    #[command(flatten)]
    datasets: DatasetSettings,
    #[command(flatten)]
    startup: StartupSettings,
    #[command(flatten)]
    pub(crate) lifecycle: LifecycleSettings,
    #[command(flatten)]
    pub(crate) telemetry: TelemetrySettings,
}

impl Cli {
    /// Migrates. If interrupted, everything is rolled back.
    pub(crate) async fn run(self, shutdown: Shutdown) -> anyhow::Result<ExitCode> {
        let declared = self.datasets.read()?;
        let up_to_date = async |database: Database| {
            let migrating = async {
                let applied = migrate(database.connection()).await;
                let applied =
                    applied.context("cannot bring the schema up to date (DATABASE_URL)")?;
                for done in database.declare(&declared).await? {
                    tracing::info!("{done}");
                }
                Ok(applied)
            };
            shutdown.started(migrating).await
        };
        let applied = self.database.with_database(&self.startup, &shutdown, up_to_date).await?;
        tracing::info!(applied, "schema is up to date");
        Ok(ExitCode::SUCCESS)
    }
}
