//! The database: its settings and its connections.

mod settings;
pub(crate) mod url;

use std::time::Duration;

use futures::future::BoxFuture;
use jetline_core::LedgerIdentity;
use sea_orm::{ConnectOptions, DatabaseConnection, DbErr, FromQueryResult};

use self::url::is_sqlite;
pub use self::{
    settings::DatabaseSettings,
    url::{checked, file},
};
use crate::{
    DriverError, Error,
    dialect::{self, Lock, postgres, sqlite::file},
    statement::{execute, query},
    transaction::Transaction,
};

/// Timeout for getting a connection of the pool, and for SQLite's lock.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

/// For reading: a connection that was idle for longer is pinged before it is used.
const READ_PING_AFTER_IDLE: Duration = Duration::from_secs(1);

/// For reading: number of rows that a connection to SQLite reads ahead.
const READ_ROW_BUFFER: usize = 4;

/// Rows are always looked up by key. A plan that was cached while a table was small must not remain a sequential scan.
const NO_SEQUENTIAL_SCANS: (&str, &str) = ("enable_seqscan", "off");

/// A pool of connections to the database.
#[derive(Clone, Debug)]
pub struct Database(DatabaseConnection);

/// How a program that only reads uses the database.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// The name by which PostgreSQL shows its connections.
    pub application: &'static str,
    /// Maximum number of open connections.
    pub connections: u32,
    /// Timeout for getting a connection.
    pub timeout: Duration,
}

#[derive(FromQueryResult)]
struct IdentityRow {
    id: String,
    database: String,
}

impl Database {
    /// Connects. Only [`Error::Unavailable`] is worth a retry.
    pub async fn connect(url: &str, connections: u32) -> Result<Self, Error> {
        let url = &checked(url)?;
        if !is_sqlite(url) {
            postgres::reach(url).await?;
        }
        let connected = sea_orm::Database::connect(options(url, connections)).await;
        let db = connected.map_err(|error| not_connected(url, error))?;
        dialect::of(&db).check(&db, url).await?;
        Ok(Self(db))
    }

    /// A pool for reading, which connects when it is used: PostgreSQL may be unavailable. The file of an SQLite database
    /// must exist.
    pub async fn open(url: &str, read: ReadOptions) -> Result<Self, Error> {
        let url = &checked(url)?;
        let mut options = ConnectOptions::new(url);
        options
            .max_connections(read.connections)
            .connect_timeout(read.timeout)
            .acquire_timeout(read.timeout)
            .test_before_acquire_if_idle_for(READ_PING_AFTER_IDLE)
            .set_application_name(read.application)
            .connect_lazy(true)
            .sqlx_logging(false)
            // Buffered rows wait while others are serialized, and each may be large.
            .map_sqlx_sqlite_opts(|options| options.row_buffer_size(READ_ROW_BUFFER))
            .map_sqlx_postgres_opts(|options| options.options([NO_SEQUENTIAL_SCANS]));
        let opened = sea_orm::Database::connect(options).await;
        opened.map(Self).map_err(|error| not_connected(url, error))
    }

    /// A pool for writing, which connects when it is used; `timeout` limits the wait for a connection.
    pub async fn open_for_writing(
        url: &str,
        connections: u32,
        timeout: Duration,
    ) -> Result<Self, Error> {
        let url = &checked(url)?;
        let mut options = options(url, connections);
        options.connect_timeout(timeout).acquire_timeout(timeout).connect_lazy(true);
        let opened = sea_orm::Database::connect(options).await;
        opened.map(Self).map_err(|error| not_connected(url, error))
    }

    /// Like [`Self::open`], but fails if the database cannot be used.
    pub async fn connect_for_reading(url: &str, read: ReadOptions) -> Result<Self, Error> {
        let database = Self::open(url, read).await?;
        database.0.ping().await.map_err(|error| not_connected(url, error))?;
        database.check_pooler().await?;
        Ok(database)
    }

    /// The connections, for migrations and tests.
    #[must_use]
    pub fn connection(&self) -> &DatabaseConnection {
        &self.0
    }

    /// Fails if the database does not answer.
    pub async fn ping(&self) -> Result<(), Error> {
        self.0.ping().await.map_err(|error| Error::classify("reach the database", error))
    }

    /// Fails on a pooler that cannot be used, or if the database is unavailable.
    pub async fn check_pooler(&self) -> Result<(), Error> {
        dialect::of(&self.0).check_pooler(&self.0).await
    }

    /// Fails on a database without the ledger's tables.
    pub async fn check_schema(&self) -> Result<(), Error> {
        // The column is of the last migration that changed these tables; `find_tables` knows the newer ones.
        let sql = "SELECT COUNT(removed_object)
             FROM ledger, epoch, objects, chunks, rejected_lines, declarations, unknown_fields, deliveries, api_keys, intake, replay_requests
             WHERE 1 = 0";
        let action = "find the ledger's tables: run jetline-migrate, or start jetline once";
        execute(&self.0, action, sql, []).await?;
        execute(&self.0, action, dialect::of(&self.0).find_tables(), []).await.map(drop)
    }

    /// The identity of the ledger: a copy of the database has the same, a newly created one another.
    pub async fn identity(&self) -> Result<LedgerIdentity, Error> {
        let database = dialect::of(&self.0).database_name();
        let sql = format!("SELECT id, {database} AS database FROM ledger");
        let action = "read the ledger's identity: run jetline-migrate";
        let rows: Vec<IdentityRow> = query(&self.0, action, &sql, []).await?;
        let row = rows.first();
        row.map(|row| LedgerIdentity::new(&row.id, &row.database))
            .ok_or_else(|| Error::Corrupt("the ledger has no identity".to_owned()))
    }

    /// Reads the identity when it is called, or `None` if that fails.
    pub fn identity_reader(
        &self,
    ) -> impl Fn() -> BoxFuture<'static, Option<LedgerIdentity>> + Send + Sync + 'static {
        let database = self.clone();
        move || {
            let database = database.clone();
            Box::pin(async move {
                let read = database.identity().await.inspect_err(|error| {
                    let error = jetline_runtime::causes(error);
                    tracing::debug!(error, "read ledger identity failed");
                });
                read.ok()
            })
        }
    }

    /// A readiness check: whether the database answers, and if not, why.
    pub fn readiness(
        &self,
    ) -> impl Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync + 'static {
        let database = self.clone();
        move || {
            let database = database.clone();
            Box::pin(async move { database.ping().await.map_err(|error| error.to_string()) })
        }
    }

    /// Closes the connections of a program that only reads: others may have the database open.
    pub async fn close_reading(&self) {
        if let Err(error) = self.0.close_by_ref().await {
            tracing::debug!(error = jetline_runtime::causes(&error), "close database failed");
        }
    }

    /// Closes all connections to an SQLite database, which checkpoints its WAL into the one file. Does nothing for
    /// PostgreSQL.
    pub async fn close(&self) {
        dialect::of(&self.0).close(&self.0).await;
    }
}

impl From<DatabaseConnection> for Database {
    fn from(connection: DatabaseConnection) -> Self {
        Self(connection)
    }
}

fn options(url: &str, connections: u32) -> ConnectOptions {
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .connect_timeout(ACQUIRE_TIMEOUT)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        // A ping before each use costs more than the statement; on a dead connection the statement fails.
        .test_before_acquire_if_idle_for(Duration::from_secs(30))
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(|options| {
            options.options([
                NO_SEQUENTIAL_SCANS,
                // The remaining sequential scans, such as that of the epoch's only row, have a cost of 10^10 with it,
                // for which the server would JIT-compile them: 150 ms for each commit.
                ("jit", "off"),
                // After a lock is taken, statements must see what its last holder committed.
                ("default_transaction_isolation", "read committed"),
            ])
        })
        .map_sqlx_sqlite_opts(|options| {
            // A crash of the machine may lose the last transactions, but only as a whole: rows and ledger together.
            options
                .create_if_missing(true)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "NORMAL")
                // A transaction writes about 4 MiB. With the defaults there is a checkpoint after each of them, and
                // rows that are written again are mostly read from the file. A checkpoint begins
                // when the log has 128 MiB.
                .pragma("wal_autocheckpoint", "32768")
                .pragma("cache_size", "-32768")
                .busy_timeout(ACQUIRE_TIMEOUT)
        })
        .map_sqlx_sqlite_pool_opts(file::without_open_transactions);
    options
}

fn not_connected(url: &str, error: DbErr) -> Error {
    if let Some(refusal) = postgres::refusal(&error) {
        return refusal;
    }
    file::refusal(url, error).unwrap_or_else(|error| Error::classify("connect", error))
}

/// Begins a transaction that excludes commits and changes of the epoch.
pub(crate) async fn begin_exclusive(db: &DatabaseConnection) -> Result<Transaction, Error> {
    let tx = Transaction::begin(db).await?;
    dialect::of(&tx).lock(&tx, Lock::EpochExclusive).await?;
    if let Some(sql) = dialect::of(&tx).commit_durably() {
        execute(&tx, "commit durably", sql, []).await?;
    }
    Ok(tx)
}

/// Classifies an error of a query of the API, which makes its connections when it needs them: one that cannot be
/// made is unavailable, unless the reason is permanent.
pub(crate) fn query_failed(action: &'static str, source: DbErr) -> Error {
    if let Some(refusal) = postgres::refusal(&source) {
        return refusal;
    }
    match source {
        DbErr::Conn(_) => Error::Unavailable { action, source: DriverError(source) },
        _ => Error::classify(action, source),
    }
}
