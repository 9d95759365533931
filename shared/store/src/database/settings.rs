//! The settings of the database.

use std::path::PathBuf;

use anyhow::Context;
use jetline_runtime::{
    Shutdown, StartupSettings,
    settings::{SecretUrl, required},
};

use super::{Database, checked, file};
use crate::Error;

/// Address of the database and size of the pool.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// The database: `postgres://user:password@host/name`, or `sqlite://file` for the embedded one
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<SecretUrl>,

    /// Maximum number of open connections to the database
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value = "8", value_parser = clap::value_parser!(u32).range(1..))]
    pub database_connections: u32,
}

impl DatabaseSettings {
    /// Runs `work` with the database of `DATABASE_URL`, and closes it after the work and all tasks of the service have
    /// ended.
    pub async fn with_database<T>(
        &self,
        startup: &StartupSettings,
        shutdown: &Shutdown,
        work: impl AsyncFnOnce(Database) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let database = shutdown.started(self.connect(startup)).await?;
        let worked = Box::pin(work(database.clone())).await;
        shutdown.soft.cancel();
        shutdown.drained().await;
        database.close().await;
        worked
    }

    /// Like [`Self::with_database`], but fails unless all migrations are applied.
    pub async fn with_ledger<T>(
        &self,
        startup: &StartupSettings,
        shutdown: &Shutdown,
        work: impl AsyncFnOnce(Database) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let checked = async |database: Database| {
            let checking = async { Ok(database.check_schema().await?) };
            shutdown.started(checking).await?;
            work(database).await
        };
        self.with_database(startup, shutdown, checked).await
    }

    /// The file of an SQLite database.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.database_url.as_ref().and_then(|url| file(url.expose()))
    }

    /// Connects, with retries until the startup timeout.
    async fn connect(&self, startup: &StartupSettings) -> anyhow::Result<Database> {
        let purpose = "the database, as in postgres://user:password@host/name";
        let url = required(self.database_url.as_ref(), "DATABASE_URL", purpose)?;
        let checked = checked(url.expose()).context("DATABASE_URL is malformed")?;
        startup
            .connect("the database (DATABASE_URL)", Error::is_transient, || {
                Database::connect(&checked, self.database_connections)
            })
            .await
            .with_context(|| format!("cannot connect to {url}"))
    }
}
