//! Transactions.
//!
//! In PostgreSQL a transaction is the driver's own: sea-orm's has no `COPY`, and copies the parameters of each statement.

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DatabaseTransaction, DbErr, ExecResult,
    QueryResult, RuntimeErr, SqliteTransactionMode, Statement, TransactionOptions,
    TransactionTrait, sea_query::Values,
};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Postgres, postgres::PgConnection, query::Query};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::error::Error;

/// A transaction, which is rolled back unless it is committed.
pub(crate) enum Transaction {
    /// Of PostgreSQL.
    Postgres(Mutex<sqlx::Transaction<'static, Postgres>>),
    /// Of SQLite.
    Sqlite(DatabaseTransaction),
}

impl Transaction {
    /// Begins a transaction that will write: SQLite takes its lock at once, so that it cannot fail to get it half-way.
    pub(crate) async fn begin(db: &DatabaseConnection) -> Result<Self, Error> {
        let begun = if db.get_database_backend() == DatabaseBackend::Postgres {
            let begun = db.get_postgres_connection_pool().begin().await;
            begun
                .map(|tx| Self::Postgres(Mutex::new(tx)))
                .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))
        } else {
            let options = TransactionOptions {
                sqlite_transaction_mode: Some(SqliteTransactionMode::Immediate),
                ..TransactionOptions::default()
            };
            db.begin_with_options(options).await.map(Self::Sqlite)
        };
        begun.map_err(|error| Error::classify("begin a transaction", error))
    }

    /// Commits.
    pub(crate) async fn commit(self, action: &'static str) -> Result<(), Error> {
        let committed = match self {
            Self::Postgres(tx) => tx.into_inner().commit().await.map_err(failed),
            Self::Sqlite(tx) => tx.commit().await,
        };
        committed.map_err(|error| Error::classify(action, error))
    }

    /// Rolls back; returns when that is done.
    pub(crate) async fn roll_back(self, action: &'static str) -> Result<(), Error> {
        let undone = match self {
            Self::Postgres(tx) => tx.into_inner().rollback().await.map_err(failed),
            Self::Sqlite(tx) => tx.rollback().await,
        };
        undone.map_err(|error| Error::classify(action, error))
    }

    /// Sets a savepoint. One that is set while there is another one has to end first.
    pub(crate) async fn set_savepoint(&self) -> Result<(), Error> {
        self.run("set a savepoint", "SAVEPOINT jetline").await
    }

    /// Ends the last savepoint, and keeps what was written since then.
    pub(crate) async fn release_savepoint(&self) -> Result<(), Error> {
        self.run("release a savepoint", "RELEASE SAVEPOINT jetline").await
    }

    /// Ends the last savepoint, and takes back what was written since then.
    pub(crate) async fn roll_back_to_savepoint(&self) -> Result<(), Error> {
        self.run("roll back to a savepoint", "ROLLBACK TO SAVEPOINT jetline").await?;
        self.release_savepoint().await
    }

    async fn run(&self, action: &'static str, sql: &str) -> Result<(), Error> {
        let run = self.execute_unprepared(sql).await;
        run.map(drop).map_err(|error| Error::classify(action, error))
    }

    /// The connection, if it is one to PostgreSQL.
    pub(crate) async fn postgres(&self) -> Option<MappedMutexGuard<'_, PgConnection>> {
        match self {
            Self::Postgres(tx) => Some(MutexGuard::map(tx.lock().await, |tx| &mut **tx)),
            Self::Sqlite(_) => None,
        }
    }
}

/// An error of the driver as sea-orm has it.
fn failed(error: sqlx::Error) -> DbErr {
    DbErr::Query(RuntimeErr::SqlxError(error.into()))
}

fn prepare(sql: String, values: Option<Values>) -> Query<'static, Postgres, SqlxValues> {
    let values = values.unwrap_or_else(|| Values(Vec::new()));
    sqlx::query_with(AssertSqlSafe(sql), SqlxValues(values))
}

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DatabaseBackend {
        match self {
            Self::Postgres(_) => DatabaseBackend::Postgres,
            Self::Sqlite(_) => DatabaseBackend::Sqlite,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        match self {
            Self::Postgres(tx) => {
                let query = prepare(statement.sql, statement.values);
                let done = query.execute(&mut **tx.lock().await).await;
                done.map(ExecResult::from).map_err(failed)
            }
            Self::Sqlite(tx) => tx.execute_raw(statement).await,
        }
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        match self {
            Self::Postgres(tx) => {
                let done = sqlx::raw_sql(AssertSqlSafe(sql)).execute(&mut **tx.lock().await).await;
                done.map(ExecResult::from).map_err(failed)
            }
            Self::Sqlite(tx) => tx.execute_unprepared(sql).await,
        }
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        match self {
            Self::Postgres(tx) => {
                let query = prepare(statement.sql, statement.values);
                let row = query.fetch_optional(&mut **tx.lock().await).await;
                row.map(|row| row.map(QueryResult::from)).map_err(failed)
            }
            Self::Sqlite(tx) => tx.query_one_raw(statement).await,
        }
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        match self {
            Self::Postgres(tx) => {
                let query = prepare(statement.sql, statement.values);
                let rows = query.fetch_all(&mut **tx.lock().await).await;
                let rows = rows.map_err(failed)?;
                Ok(rows.into_iter().map(QueryResult::from).collect())
            }
            Self::Sqlite(tx) => tx.query_all_raw(statement).await,
        }
    }
}
