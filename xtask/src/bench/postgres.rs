//! The PostgreSQL server of a benchmark: the same settings, fresh for every run.

use anyhow::{Context, ensure};
use jetline_oracle::ledger::Ledger;
use jetline_testkit::postgres::PostgresServer;
use tokio::runtime::Runtime;

/// Safe for data, and with room: a default installation's log would force a checkpoint every few seconds. Images of pages,
/// the first change of each after a checkpoint, are compressed, by what every build has.
const SETTINGS: &[(&str, &str)] = &[
    ("fsync", "on"),
    ("synchronous_commit", "on"),
    ("shared_buffers", "256MB"),
    ("max_wal_size", "16GB"),
    ("checkpoint_timeout", "30min"),
    ("wal_compression", "on"),
];

/// A running server.
pub(super) struct Postgres(PostgresServer);

impl Postgres {
    /// With a delay in milliseconds, a commit that waits for the disk waits longer by it; others wait with it.
    pub(super) fn start(flush_delay: u16) -> anyhow::Result<Self> {
        let delay = (u32::from(flush_delay) * 1000).to_string();
        let slow = [("commit_delay", delay.as_str()), ("commit_siblings", "0")];
        Ok(Self(PostgresServer::start_with(&[SETTINGS, &slow].concat())?))
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

    /// Makes sure that a table has as many rows as there are ids.
    pub(super) fn check_rows(&self, table: &str, ids: u64) -> anyhow::Result<()> {
        let sql = format!("SELECT CAST(count(*) AS text) AS text FROM {table}");
        let rows = self.query(&sql)?.concat();
        ensure!(rows == ids.to_string(), "{rows} rows for {ids} ids");
        Ok(())
    }

    /// The id of each product, and a hash of its other columns.
    pub(super) fn products(&self) -> anyhow::Result<Vec<String>> {
        let sql = "SELECT id::bigint || ' '
                 || md5(ROW(title, trim_scale(price::numeric), category, brand, url, description)::text) AS text
             FROM products";
        self.query(sql)
    }

    /// How many bytes of its log were written so far.
    pub(super) fn wal(&self) -> anyhow::Result<u64> {
        let sql = "SELECT pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint::text AS text";
        Ok(self.query(sql)?.concat().parse()?)
    }

    /// The column `text` of the rows of a query.
    pub(super) fn query(&self, sql: &str) -> anyhow::Result<Vec<String>> {
        Runtime::new()?.block_on(async { Ok(Ledger::connect(self.url()).await?.texts(sql).await?) })
    }
}
