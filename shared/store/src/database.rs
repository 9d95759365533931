//! Settings of the database, and connecting to it.

mod file;
mod url;

use std::time::Duration;

use jetline_runtime::settings::SecretUrl;
use sea_orm::{
    ConnectOptions, Database, DatabaseConnection, DatabaseTransaction, DbBackend, DbErr,
    SqliteTransactionMode, TransactionOptions, TransactionTrait,
};

pub use self::{
    file::close,
    url::{checked, file},
};
use crate::{Error, backend::execute, pooler, tls};

/// Timeout for getting a connection of the pool, and for SQLite's lock.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(10);

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

/// Connects. Only [`Error::Unavailable`] is worth a retry.
pub async fn connect(url: &str, connections: u32) -> Result<DatabaseConnection, Error> {
    let url = &checked(url)?;
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
                // Rows are always looked up by key. A plan that was cached while a table was small must not remain a
                // sequential scan.
                ("enable_seqscan", "off"),
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
                // rows that are written again are mostly read from the file.
                .pragma("wal_autocheckpoint", "8192")
                .pragma("cache_size", "-32768")
                .busy_timeout(ACQUIRE_TIMEOUT)
        })
        .map_sqlx_sqlite_pool_opts(file::without_open_transactions);
    let connected = Database::connect(options).await;
    let db = connected.map_err(|error| not_connected(url, error))?;
    if db.get_database_backend() == DbBackend::Sqlite {
        file::check(&db, url).await?;
    } else {
        pooler::check(&db).await?;
        pooler::check_options(&db).await?;
    }
    Ok(db)
}

fn not_connected(url: &str, error: DbErr) -> Error {
    if let Some(refusal) = tls::refusal(&error).or_else(|| pooler::refusal(&error)) {
        return refusal;
    }
    file::refusal(url, error).unwrap_or_else(|error| Error::classify("connect", error))
}

/// Fails on a database without the ledger's tables.
pub async fn check_schema(db: &DatabaseConnection) -> Result<(), Error> {
    let sql = "SELECT COUNT(*) FROM epoch, objects, chunks, rejected_lines WHERE 1 = 0";
    execute(db, "find the ledger's tables: run jetline-migrate", sql, []).await.map(drop)
}

/// Begins a transaction that will write: SQLite takes its lock at once, so that it cannot fail to get it half-way.
pub(crate) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, Error> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options)
        .await
        .map_err(|error| Error::classify("begin a transaction", error))
}
