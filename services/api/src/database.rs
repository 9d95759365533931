//! Statements with a time limit, and what their errors mean to a caller.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU32, Ordering},
    },
    time::Duration,
};

use anyhow::Context;
use jetline_records::Record;
use jetline_runtime::settings::SecretUrl;
use jetline_store::{database, pooler, read::Finder, tls};
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DbBackend, DbErr, RuntimeErr, SqlxError,
};

use crate::{ApiSettings, DatabaseSettings};

/// A connection that was idle for so long is asked whether it still lives before it is used.
const SUSPICIOUS_IDLE: Duration = Duration::from_secs(1);

/// How many rows a connection to SQLite reads before they are asked for.
const ROW_BUFFER: usize = 4;

/// Opens a pool. PostgreSQL need not answer yet: while it is away the service is not ready, but it runs. The file of
/// an SQLite database must be there.
pub async fn connect(
    settings: &DatabaseSettings,
    api: &ApiSettings,
) -> anyhow::Result<DatabaseConnection> {
    let url: &SecretUrl = settings.url()?;
    let checked = database::checked(url.expose()).with_context(|| format!("the database {url}"))?;
    let mut options = ConnectOptions::new(checked);
    options
        .max_connections(settings.database_connections.get())
        .connect_timeout(statement_limit(api.request_timeout))
        .acquire_timeout(statement_limit(api.request_timeout))
        .test_before_acquire_if_idle_for(SUSPICIOUS_IDLE)
        .set_application_name("jetline-api")
        .connect_lazy(true)
        .sqlx_logging(false)
        // Rows wait here while others are written as JSON, and each may be a large one.
        .map_sqlx_sqlite_opts(|options| options.row_buffer_size(ROW_BUFFER))
        // Rows are always looked up by key. A plan made while a table was small must not stay a scan of it.
        .map_sqlx_postgres_opts(|options| options.options([("enable_seqscan", "off")]));
    Database::connect(options)
        .await
        .with_context(|| format!("cannot open the database {url}"))
}

/// How long a statement may take, so that a request can wait for one in flight and for its own.
pub(crate) fn statement_limit(request_timeout: Duration) -> Duration {
    request_timeout / 2
}

/// The database as the endpoints see it.
#[derive(Clone)]
pub(crate) struct Reads {
    connection: DatabaseConnection,
    limit: Duration,
    /// Connections that finders may still keep for themselves: half of all, and two are left, so that nobody else waits
    /// for one in vain.
    kept: Arc<AtomicU32>,
}

impl Reads {
    pub(crate) fn new(connection: DatabaseConnection, limit: Duration) -> Self {
        let connections = match connection.get_database_backend() {
            DbBackend::Postgres => connection
                .get_postgres_connection_pool()
                .options()
                .get_max_connections(),
            _ => 0,
        };
        Self {
            connection,
            limit,
            kept: Arc::new(AtomicU32::new(
                (connections / 2).min(connections.saturating_sub(2)),
            )),
        }
    }

    /// Finds records again and again.
    pub(crate) fn finder<R: Record>(&self) -> Finder<R> {
        let left = |left: u32| left.checked_sub(1);
        let order = Ordering::Relaxed;
        let keeps = self.kept.fetch_update(order, order, left).is_ok();
        Finder::new(self.connection.clone(), keeps)
    }

    pub(crate) fn connection(&self) -> &DatabaseConnection {
        &self.connection
    }

    /// The result of a statement, or why there is none within the limit. Failures are logged here, once for all who wait.
    pub(crate) async fn ask<T>(
        &self,
        statement: impl Future<Output = Result<T, DbErr>>,
    ) -> Result<T, Error> {
        let Ok(answer) = tokio::time::timeout(self.limit, statement).await else {
            tracing::warn!(limit = ?self.limit, "database does not answer in time");
            return Err(Error::Away);
        };
        told(answer)
    }
}

/// What the database said, where that is not what was asked for: the log has the details.
pub(crate) fn told<T>(answer: Result<T, DbErr>) -> Result<T, Error> {
    let error = match answer {
        Ok(answer) => return Ok(answer),
        Err(error) => error,
    };
    if let Some(refusal) = pooler::refusal(&error) {
        tracing::error!(error = %refusal, "statement failed");
        return Err(Error::Failed);
    }
    if let Some(error) = tls::refusal(&error) {
        tracing::error!(%error, "database is not spoken to");
        return Err(Error::Away);
    }
    if is_away(&error) {
        tracing::warn!(%error, "database is away");
        return Err(Error::Away);
    }
    tracing::error!(%error, "statement failed");
    Err(Error::Failed)
}

/// Why the connections that the database gives cannot be used, for whoever asks whether requests are answered.
pub(crate) fn refused(error: &jetline_store::Error) -> String {
    if error.is_passing() {
        tracing::warn!(error = error as &dyn std::error::Error, "database is away");
        return Error::Away.to_string();
    }
    tracing::error!(
        error = error as &dyn std::error::Error,
        "database is not spoken to"
    );
    error.to_string()
}

/// Why the database gave no answer; the log has the details.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Error {
    /// Waiting helps.
    #[error("the database does not answer")]
    Away,
    /// Waiting does not help.
    #[error("the database refused the statement")]
    Failed,
    /// It was not asked, or for nothing: waiting helps.
    #[error("too many large answers are being sent")]
    Busy,
}

/// Whether the same statement may succeed a little later.
fn is_away(error: &DbErr) -> bool {
    match error {
        DbErr::ConnectionAcquire(_) | DbErr::Conn(_) => true,
        DbErr::Query(RuntimeErr::SqlxError(error)) | DbErr::Exec(RuntimeErr::SqlxError(error)) => {
            match error.as_ref() {
                SqlxError::Io(_)
                | SqlxError::Tls(_)
                | SqlxError::PoolTimedOut
                | SqlxError::PoolClosed
                | SqlxError::WorkerCrashed => true,
                SqlxError::Database(error) => error.code().is_some_and(|code| passes(&code)),
                _ => false,
            }
        }
        _ => false,
    }
}

/// Broken connections, too many of them, a server that starts or stops, a replica's conflict with recovery; in SQLite, a
/// locked database.
fn passes(code: &str) -> bool {
    code.starts_with("08")
        || code.starts_with("57P")
        || matches!(code, "53300" | "40001" | "5" | "6")
}
