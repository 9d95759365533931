//! Runs statements with a timeout, and classifies their errors for the response.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use jetline_datasets::Dataset;
use jetline_runtime::settings::SecretUrl;
use jetline_store::{Catalog, Database, ReadOptions, catalog::Finder};

use crate::{ApiSettings, DatabaseSettings};

/// Opens a pool. PostgreSQL may be unavailable: meanwhile the service runs, but is not ready. The file of an SQLite
/// database must exist.
pub async fn open(settings: &DatabaseSettings, api: &ApiSettings) -> anyhow::Result<Database> {
    let url: &SecretUrl = settings.url()?;
    let read = ReadOptions {
        application: "jetline-api",
        connections: settings.database_connections.get(),
        timeout: statement_timeout(api.request_timeout),
    };
    let opened = Database::open(url.expose(), read).await;
    opened.with_context(|| format!("cannot open the database {url}"))
}

/// The timeout of a statement, such that a request can wait for one in flight and for its own.
pub(crate) fn statement_timeout(request_timeout: Duration) -> Duration {
    request_timeout / 2
}

/// The number of queries of declarations that may run at a time in SQLite.
const SQLITE_QUERIES: u32 = 4;

/// The pool through which the endpoints run statements.
#[derive(Clone)]
pub(crate) struct ReadPool {
    database: Database,
    catalog: Catalog,
    timeout: Duration,
    /// Number of connections that finders may still keep for themselves: at most half of all, and all but two, so that
    /// other requests get one.
    keepable: Arc<AtomicU32>,
    connections_for_queries: usize,
}

/// A connection that a finder may keep; it is given back when this is dropped.
pub(crate) struct Kept(Arc<AtomicU32>);

impl Drop for Kept {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl ReadPool {
    pub(crate) fn new(database: Database, timeout: Duration) -> Self {
        let catalog = Catalog::new(&database);
        let connections = catalog.keepable_connections();
        let keepable = (connections / 2).min(connections.saturating_sub(2));
        // One connection is left for other requests. In SQLite each query has its own.
        let for_queries =
            if connections == 0 { SQLITE_QUERIES } else { connections - keepable - 1 };
        Self {
            database,
            catalog,
            timeout,
            keepable: Arc::new(AtomicU32::new(keepable)),
            connections_for_queries: usize::try_from(for_queries.max(1)).unwrap_or(1),
        }
    }

    /// A finder, with a kept connection if possible, as long as what is returned with it exists.
    pub(crate) fn finder(&self, dataset: &Arc<Dataset>) -> (Finder, Option<Kept>) {
        let take_one = |keepable: u32| keepable.checked_sub(1);
        let order = Ordering::Relaxed;
        let taken = self.keepable.fetch_update(order, order, take_one);
        let kept = taken.is_ok().then(|| Kept(self.keepable.clone()));
        (self.catalog.finder(dataset, kept.is_some()), kept)
    }

    /// The number of queries of declarations that may run at a time.
    pub(crate) fn connections_for_queries(&self) -> usize {
        self.connections_for_queries
    }

    pub(crate) fn database(&self) -> &Database {
        &self.database
    }

    pub(crate) fn catalog(&self) -> &Catalog {
        &self.catalog
    }

    /// Runs a statement with the timeout. Failures are logged here, once for all requests that wait for it.
    pub(crate) async fn run<T>(
        &self,
        statement: impl Future<Output = Result<T, jetline_store::Error>>,
    ) -> Result<T, Error> {
        let Ok(result) = tokio::time::timeout(self.timeout, statement).await else {
            tracing::warn!(
                timeout_ms = jetline_runtime::millis(self.timeout),
                "statement timed out"
            );
            return Err(Error::Unavailable);
        };
        classify(result)
    }
}

/// Logs the error of a statement; the log has the details, the response says whether a retry may succeed.
pub(crate) fn classify<T>(result: Result<T, jetline_store::Error>) -> Result<T, Error> {
    result.map_err(|error| {
        let logged = jetline_runtime::causes(&error);
        match &error {
            jetline_store::Error::Tls { .. } => {
                tracing::error!(error = logged, "connect to database failed");
                Error::Unavailable
            }
            error if error.is_transient() => {
                tracing::warn!(error = logged, "database unavailable");
                Error::Unavailable
            }
            _ => {
                tracing::error!(error = logged, "statement failed");
                Error::Failed
            }
        }
    })
}

/// Logs why connections cannot be used, and returns the reason for the readiness check.
pub(crate) fn not_ready(error: &jetline_store::Error) -> String {
    if error.is_transient() {
        tracing::warn!(error = jetline_runtime::causes(error), "database unavailable");
        return Error::Unavailable.to_string();
    }
    tracing::error!(error = jetline_runtime::causes(error), "database cannot be used");
    error.to_string()
}

/// Why a request has no result; the log has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// The database is unavailable; a retry may succeed.
    #[error("the database is not available")]
    Unavailable,
    /// The statement failed; a retry will not succeed.
    #[error("the database refused the statement")]
    Failed,
    /// The memory budget for responses is exhausted; a retry may succeed.
    #[error("too many large answers are being sent")]
    Busy,
    /// Other queries are running; a retry may succeed.
    #[error("too many queries are running")]
    TooManyQueries,
}
