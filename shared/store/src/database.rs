//! The connection to the database.

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

/// How long a statement waits for a connection of the pool, and SQLite for its lock.
const WAIT: Duration = Duration::from_secs(10);

/// Where the database is.
#[derive(Clone, clap::Args)]
#[command(next_help_heading = "Database")]
pub struct DatabaseSettings {
    /// The database: `postgres://user:password@host/name`, or `sqlite://file` for the embedded one
    #[arg(long, env = "DATABASE_URL", hide_env_values = true)]
    pub database_url: Option<SecretUrl>,

    /// How many connections to the database are kept open at most
    #[arg(long, env = "DATABASE_CONNECTIONS", default_value = "8", value_parser = clap::value_parser!(u32).range(1..))]
    pub database_connections: u32,
}

/// Connects, or says why not: [`Error::Unavailable`] is for trying again, everything else is not.
pub async fn connect(url: &str, connections: u32) -> Result<DatabaseConnection, Error> {
    let url = &checked(url)?;
    let mut options = ConnectOptions::new(url);
    options
        .max_connections(connections)
        .connect_timeout(WAIT)
        .acquire_timeout(WAIT)
        // A ping before each use costs more than the statement; a dead connection shows in the statement's error.
        .test_before_acquire_if_idle_for(Duration::from_secs(30))
        .sqlx_logging(false)
        .map_sqlx_postgres_opts(|options| {
            options.options([
                // Rows are always looked up by key. A plan made while a table was small must not stay a scan of it.
                ("enable_seqscan", "off"),
                // What has to be scanned all the same, such as the epoch's only row, costs 10^10 that way, for which
                // the server would compile it: 150 ms for each commit.
                ("jit", "off"),
                // What is read behind a lock must be what its last holder committed.
                ("default_transaction_isolation", "read committed"),
            ])
        })
        .map_sqlx_sqlite_opts(|options| {
            // A crash of the machine may undo the last transactions, whole ones: rows and ledger together.
            options
                .create_if_missing(true)
                .pragma("journal_mode", "WAL")
                .pragma("synchronous", "NORMAL")
                // A transaction writes about 4 MiB. By default the log is written back after each of those, and
                // rows that come again are mostly read from the file.
                .pragma("wal_autocheckpoint", "8192")
                .pragma("cache_size", "-32768")
                .busy_timeout(WAIT)
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
    file::refusal(url, error).unwrap_or_else(|error| Error::of("connect", error))
}

/// Refuses a database that the migrations were not applied to.
pub async fn check_schema(db: &DatabaseConnection) -> Result<(), Error> {
    let sql = "SELECT COUNT(*) FROM epoch, objects, chunks, rejected_lines WHERE 1 = 0";
    execute(db, "find the ledger's tables: run jetline-migrate", sql, [])
        .await
        .map(drop)
}

/// Starts a transaction that will write: SQLite takes its lock at once, so that it never has to give up half-way.
pub(crate) async fn begin(db: &DatabaseConnection) -> Result<DatabaseTransaction, Error> {
    let options = TransactionOptions {
        sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
        ..TransactionOptions::default()
    };
    db.begin_with_options(options)
        .await
        .map_err(|error| Error::of("begin a transaction", error))
}
