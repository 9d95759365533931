//! Observes the database: its state, size and connections.

use std::time::Duration;

use anyhow::Context;
use jetline_oracle::{Expected, database_state::Difference, ledger};
use sea_orm::{ConnectOptions, Database, FromQueryResult};
use serde::Serialize;
use tokio::time::Instant;

/// The timeout of a sample: the database may be unavailable.
const TIMEOUT: Duration = Duration::from_secs(2);

/// The interval of polling the ledger: there is no event to wait for.
const POLL_INTERVAL: Duration = Duration::from_millis(20);

/// The application name of this program's connections, to exclude them from the counts.
const NAME: &str = "jetline-chaos";

/// The observed database.
pub(super) struct Ledger(ledger::Ledger);

/// The state of the ledger and the connections.
#[derive(Clone, Copy, Debug, FromQueryResult, Serialize)]
pub(super) struct LedgerSample {
    /// Connections of the installation.
    pub(super) connections: i64,
    /// Rows of `objects`, and how many of them are done or failed.
    pub(super) objects: i64,
    pub(super) done: i64,
    pub(super) failed: i64,
    /// The first object that is not settled.
    pub(super) settled: i64,
    /// Rows of `chunks`, and how many of them are dead.
    pub(super) chunks: i64,
    pub(super) dead: i64,
    pub(super) rejected_lines: i64,
    /// The size of tables with their indexes and TOAST.
    pub(super) objects_bytes: i64,
    pub(super) chunks_bytes: i64,
    pub(super) rejected_lines_bytes: i64,
    pub(super) products_bytes: i64,
}

const SAMPLE: &str = "
    SELECT (SELECT COUNT(*) FROM pg_stat_activity WHERE datname = current_database()
            AND backend_type = 'client backend' AND application_name <> 'jetline-chaos') AS connections,
        (SELECT COUNT(*) FROM objects) AS objects,
        (SELECT COUNT(*) FROM objects WHERE state = 'done') AS done,
        (SELECT COUNT(*) FROM objects WHERE state = 'failed') AS failed,
        COALESCE((SELECT MIN(id) FROM objects WHERE state NOT IN ('done', 'failed')),
            (SELECT MAX(id) + 1 FROM objects), 1) AS settled,
        (SELECT COUNT(*) FROM chunks) AS chunks,
        (SELECT COUNT(*) FROM chunks WHERE state = 'dead') AS dead,
        (SELECT COUNT(*) FROM rejected_lines) AS rejected_lines,
        pg_total_relation_size('objects') AS objects_bytes,
        pg_total_relation_size('chunks') AS chunks_bytes,
        pg_total_relation_size('rejected_lines') AS rejected_lines_bytes,
        pg_total_relation_size('products') AS products_bytes";

impl Ledger {
    /// Connects to a database that is available.
    pub(super) async fn connect(url: &str) -> anyhow::Result<Self> {
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(2)
            .connect_timeout(TIMEOUT)
            .acquire_timeout(TIMEOUT)
            .sqlx_logging(false)
            .map_sqlx_postgres_opts(|options| options.application_name(NAME));
        let database = Database::connect(options).await;
        Ok(Self(ledger::Ledger(database.context("cannot connect to the database")?)))
    }

    /// Takes a sample.
    pub(super) async fn sample(&self) -> anyhow::Result<LedgerSample> {
        let samples = tokio::time::timeout(TIMEOUT, self.0.rows(SAMPLE)).await;
        let samples = samples.context("the database does not respond")??;
        samples.into_iter().next().context("no row of a sample")
    }

    /// Waits until so many objects have ended; returns the sample, or `None` after the timeout.
    pub(super) async fn until_ended(
        &self,
        objects: u64,
        timeout: Duration,
    ) -> Option<LedgerSample> {
        let ended = |sample: &LedgerSample| sample.done + sample.failed == objects.cast_signed();
        self.until(ended, timeout).await
    }

    /// Waits until some object is loading.
    pub(super) async fn until_busy(&self, timeout: Duration) -> Option<LedgerSample> {
        let busy = |sample: &LedgerSample| sample.done + sample.failed < sample.objects;
        self.until(busy, timeout).await
    }

    async fn until(
        &self,
        condition: impl Fn(&LedgerSample) -> bool,
        timeout: Duration,
    ) -> Option<LedgerSample> {
        let end = Instant::now() + timeout;
        while Instant::now() < end {
            // It may be unavailable: then it is polled again.
            if let Ok(sample) = self.sample().await
                && condition(&sample)
            {
                return Some(sample);
            }
            tokio::time::sleep(POLL_INTERVAL).await;
        }
        None
    }

    /// The differences between the database and the fold.
    pub(super) async fn differences(&self, expected: &Expected) -> anyhow::Result<Vec<String>> {
        let differences = self.0.state().await?.differences(expected);
        Ok(differences.iter().map(Difference::to_string).collect())
    }
}
