//! The PostgreSQL server that both sides of a benchmark get: the same settings, fresh for every run.

use std::{
    path::Path,
    process::{Command, Output},
};

use anyhow::{Context, ensure};
use jetline_testkit::{postgres::PostgresServer, process::program};

/// Safe for data, and with room: a default installation's log would force a checkpoint every few seconds. Images of pages,
/// the first change of each after a checkpoint, are compressed as compose.yaml has it.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "30min"),
    ("wal_compression", "zstd"),
];

/// The settings, for the conditions of a report.
pub(super) fn describe() -> String {
    let settings: Vec<String> = SETTINGS
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    format!("PostgreSQL, fresh for every run: {}", settings.join(", "))
}

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

    /// Leaves the tables as autovacuum does in time, which it may start in the middle of a measurement.
    pub(super) fn vacuum(&self) -> anyhow::Result<()> {
        query(&self.url, "VACUUM (ANALYZE)").map(drop)
    }

    /// Makes sure that `products` has as many rows as there are ids.
    pub(super) fn check_products(&self, ids: u64) -> anyhow::Result<()> {
        let rows = self.number("SELECT count(*) FROM products")?;
        ensure!(rows == ids, "{rows} rows for {ids} ids");
        Ok(())
    }

    /// How many bytes of its log were written so far.
    pub(super) fn wal(&self) -> anyhow::Result<u64> {
        self.number("SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint")
    }

    fn number(&self, sql: &str) -> anyhow::Result<u64> {
        let answer = query(&self.url, sql)?;
        answer
            .trim()
            .parse()
            .with_context(|| format!("{answer:?} is not a number"))
    }

    /// A psql that runs what it reads.
    pub(super) fn session(&self) -> anyhow::Result<Command> {
        psql(&self.url)
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
