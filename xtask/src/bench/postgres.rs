//! The PostgreSQL server that both sides of a benchmark get: the same settings, fresh for every run.

use std::{
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, ensure};
use jetline_testkit::{postgres::PostgresServer, process::program};

/// Safe for data, and with room: a default installation's log would force a checkpoint every few seconds.
pub(super) const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "30min"),
];

/// A server with one database, `bench`.
pub(super) struct Postgres {
    server: PostgresServer,
    url: String,
}

impl Postgres {
    /// Starts it.
    pub(super) fn start() -> anyhow::Result<Self> {
        let server = PostgresServer::start_with(SETTINGS)?;
        let url = server
            .url()
            .strip_suffix("/postgres")
            .map(|host| format!("{host}/bench"))
            .context("the server's URL does not end in /postgres")?;
        let postgres = Self { server, url };
        query(postgres.server.url(), "CREATE DATABASE bench")?;
        Ok(postgres)
    }

    /// The URL of the database.
    pub(super) fn url(&self) -> &str {
        &self.url
    }

    /// The process id of the postmaster.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.server.pid().context("PostgreSQL does not run")
    }

    /// Writes out everything, so that what came before is not paid for in what is measured.
    pub(super) fn settle(&self) -> anyhow::Result<()> {
        query(&self.url, "CHECKPOINT").map(drop)
    }

    /// How many rows `products` has.
    pub(super) fn products(&self) -> anyhow::Result<u64> {
        let count = query(&self.url, "SELECT count(*) FROM products")?;
        count
            .trim()
            .parse()
            .with_context(|| format!("{count:?} is not a number"))
    }

    /// A psql that runs a script and stops at the first error.
    pub(super) fn psql(&self, script: &Path) -> anyhow::Result<Command> {
        let mut command = psql(&self.url)?;
        command.arg("--file").arg(script);
        Ok(command)
    }
}

fn psql(url: &str) -> anyhow::Result<Command> {
    let mut command = Command::new(program("psql")?);
    command.args([
        "--no-psqlrc",
        "--quiet",
        "--set=ON_ERROR_STOP=1",
        "--dbname",
        url,
    ]);
    Ok(command)
}

fn query(url: &str, sql: &str) -> anyhow::Result<String> {
    let Output {
        status,
        stdout,
        stderr,
    } = psql(url)?
        .args(["--tuples-only", "--no-align", "--command", sql])
        .output()?;
    ensure!(
        status.success(),
        "{sql}: {}",
        String::from_utf8_lossy(&stderr)
    );
    Ok(String::from_utf8(stdout)?)
}
