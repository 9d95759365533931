//! The settings of the database.

use std::{path::PathBuf, time::Duration};

use anyhow::ensure;
use jetline_runtime::{
    Shutdown, StartupSettings, causes,
    settings::{Invalid, SecretUrl, required},
};

use super::{Database, ReadOptions, checked, file};
use crate::Error;

/// How a command reads the ledger: with one connection, which waits for its turn as those of other programs do.
const READ: ReadOptions =
    ReadOptions { application: "jetline", connections: 1, timeout: Duration::from_secs(10) };

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

    /// Runs `work` with a database that is only read: nothing is created or changed. Fails unless all migrations are
    /// applied.
    pub async fn read_ledger<T>(
        &self,
        startup: &StartupSettings,
        shutdown: &Shutdown,
        work: impl AsyncFnOnce(Database) -> anyhow::Result<T>,
    ) -> anyhow::Result<T> {
        let database = shutdown.started(self.connect_for_reading(startup)).await?;
        let worked = async {
            database.check_schema().await?;
            work(database.clone()).await
        };
        let worked = shutdown.started(worked).await;
        database.close_reading().await;
        worked
    }

    /// The file of an SQLite database.
    #[must_use]
    pub fn file(&self) -> Option<PathBuf> {
        self.database_url.as_ref().and_then(|url| file(url.expose()))
    }

    /// Connects, with retries until the startup timeout.
    async fn connect(&self, startup: &StartupSettings) -> anyhow::Result<Database> {
        let (url, checked) = self.url()?;
        startup
            .connect(&format!("the database {url} (DATABASE_URL)"), Error::is_transient, || {
                Database::connect(&checked, self.database_connections)
            })
            .await
    }

    async fn connect_for_reading(&self, startup: &StartupSettings) -> anyhow::Result<Database> {
        let (url, checked) = self.url()?;
        if let Some(file) = self.file() {
            let file_exists = file.exists();
            ensure!(file_exists, "the database {} does not exist (DATABASE_URL)", file.display());
        }
        startup
            .connect(&format!("the database {url} (DATABASE_URL)"), Error::is_transient, || {
                Database::connect_for_reading(&checked, READ)
            })
            .await
    }

    /// The URL as it is shown, and as it is used.
    fn url(&self) -> anyhow::Result<(&SecretUrl, String)> {
        let purpose = "the database, as in postgres://user:password@host/name";
        let url = required(self.database_url.as_ref(), "DATABASE_URL", purpose)?;
        let malformed =
            |error: Error| Invalid::new(format!("DATABASE_URL is malformed: {}", causes(&error)));
        let checked = checked(url.expose()).map_err(malformed)?;
        Ok((url, checked))
    }

    /// Refuses a missing or malformed address.
    pub fn check(&self) -> anyhow::Result<()> {
        self.url().map(drop)
    }
}
