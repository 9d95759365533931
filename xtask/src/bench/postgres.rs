//! The PostgreSQL server of a benchmark: the same settings, fresh for every run.

use std::process::Command;

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

/// A running server.
pub(super) struct Postgres(PostgresServer);

impl Postgres {
    pub(super) fn start() -> anyhow::Result<Self> {
        Ok(Self(PostgresServer::start_with(SETTINGS)?))
    }

    pub(super) fn url(&self) -> &str {
        self.0.url()
    }

    /// The process id of the postmaster.
    pub(super) fn pid(&self) -> anyhow::Result<u32> {
        self.0.pid().context("PostgreSQL does not run")
    }

    /// Writes out everything, so that what came before is not paid for in what is measured.
    pub(super) fn checkpoint(&self) -> anyhow::Result<()> {
        self.query("CHECKPOINT").map(drop)
    }

    /// Leaves the tables as autovacuum does in time, which it may start in the middle of a measurement.
    pub(super) fn vacuum(&self) -> anyhow::Result<()> {
        self.query("VACUUM (ANALYZE)").map(drop)
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
        let answer = self.query(sql)?;
        answer.trim().parse().with_context(|| format!("{answer:?} is not a number"))
    }
    fn query(&self, sql: &str) -> anyhow::Result<String> {
        let output = Command::new(program("psql")?)
            .args(["--no-psqlrc", "--tuples-only", "--no-align"])
            .args(["--dbname", self.url(), "--command", sql])
            .output()?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.success(), "{sql}: {error}");
        Ok(String::from_utf8(output.stdout)?)
    }
}
