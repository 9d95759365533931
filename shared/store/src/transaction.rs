//! Transactions of the driver: those of sea-orm have no `COPY`, and copy the parameters of each statement.

use async_trait::async_trait;
use sea_orm::{
    ConnectionTrait, DatabaseBackend, DatabaseConnection, DbErr, ExecResult, QueryResult,
    RuntimeErr, Statement, sea_query::Values,
};
use sea_query_sqlx::SqlxValues;
use sqlx::{AssertSqlSafe, Postgres, Sqlite, postgres::PgConnection};
use tokio::sync::{MappedMutexGuard, Mutex, MutexGuard};

use crate::error::Error;

const SAVEPOINT: &str = "jetline";

/// A transaction, which is rolled back unless it is committed.
pub(crate) enum Transaction {
    Postgres(Mutex<sqlx::Transaction<'static, Postgres>>),
    Sqlite(Mutex<sqlx::Transaction<'static, Sqlite>>),
}

/// Does the same with a transaction of either database.
macro_rules! either {
    ($of:expr, $tx:ident => $does:expr) => {
        match $of {
            Transaction::Postgres($tx) => $does,
            Transaction::Sqlite($tx) => $does,
        }
    };
}

/// Runs a prepared statement by one of the driver's methods. The parameters are moved.
macro_rules! run {
    ($of:expr, $statement:expr, $method:ident, $into:expr) => {
        either!($of, tx => {
            let values = SqlxValues($statement.values.unwrap_or(Values(Vec::new())));
            let query = sqlx::query_with(AssertSqlSafe($statement.sql), values);
            query.$method(&mut **tx.lock().await).await.map($into).map_err(failed)
        })
    };
}

impl Transaction {
    /// Begins a transaction that will write: SQLite takes its lock at once, so that it cannot fail to get it half-way.
    pub(crate) async fn begin(db: &DatabaseConnection) -> Result<Self, Error> {
        let begun = if db.get_database_backend() == DatabaseBackend::Postgres {
            let begun = db.get_postgres_connection_pool().begin().await;
            begun.map(|tx| Self::Postgres(Mutex::new(tx)))
        } else {
            let begun = db.get_sqlite_connection_pool().begin_with("BEGIN IMMEDIATE").await;
            begun.map(|tx| Self::Sqlite(Mutex::new(tx)))
        };
        begun.map_err(|error| {
            let error = DbErr::Conn(RuntimeErr::SqlxError(error.into()));
            Error::classify("begin a transaction", error)
        })
    }

    /// Commits.
    pub(crate) async fn commit(self, action: &'static str) -> Result<(), Error> {
        let committed = either!(self, tx => tx.into_inner().commit().await);
        committed.map_err(|error| Error::classify(action, failed(error)))
    }

    /// Rolls back; returns when that is done.
    pub(crate) async fn roll_back(self, action: &'static str) -> Result<(), Error> {
        let undone = either!(self, tx => tx.into_inner().rollback().await);
        undone.map_err(|error| Error::classify(action, failed(error)))
    }

    /// Sets a savepoint. One that is set while there is another one has to end first.
    pub(crate) async fn set_savepoint(&self) -> Result<(), Error> {
        self.run("set a savepoint", &format!("SAVEPOINT {SAVEPOINT}")).await
    }

    /// Ends the last savepoint, and keeps what was written since then.
    pub(crate) async fn release_savepoint(&self) -> Result<(), Error> {
        self.release(SAVEPOINT).await
    }

    /// Ends the last savepoint, and takes back what was written since then.
    pub(crate) async fn roll_back_to_savepoint(&self) -> Result<(), Error> {
        self.roll_back_to(SAVEPOINT).await
    }

    /// The same with a savepoint of another name.
    pub(crate) async fn roll_back_to(&self, savepoint: &str) -> Result<(), Error> {
        let sql = format!("ROLLBACK TO SAVEPOINT {savepoint}");
        self.run("roll back to a savepoint", &sql).await?;
        self.release(savepoint).await
    }

    async fn release(&self, savepoint: &str) -> Result<(), Error> {
        self.run("release a savepoint", &format!("RELEASE SAVEPOINT {savepoint}")).await
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

#[async_trait]
impl ConnectionTrait for Transaction {
    fn get_database_backend(&self) -> DatabaseBackend {
        match self {
            Self::Postgres(_) => DatabaseBackend::Postgres,
            Self::Sqlite(_) => DatabaseBackend::Sqlite,
        }
    }

    async fn execute_raw(&self, statement: Statement) -> Result<ExecResult, DbErr> {
        run!(self, statement, execute, ExecResult::from)
    }

    async fn execute_unprepared(&self, sql: &str) -> Result<ExecResult, DbErr> {
        let sql = sqlx::raw_sql(AssertSqlSafe(sql));
        either!(self, tx => {
            let done = sql.execute(&mut **tx.lock().await).await;
            done.map(ExecResult::from).map_err(failed)
        })
    }

    async fn query_one_raw(&self, statement: Statement) -> Result<Option<QueryResult>, DbErr> {
        run!(self, statement, fetch_optional, |row| row.map(QueryResult::from))
    }

    async fn query_all_raw(&self, statement: Statement) -> Result<Vec<QueryResult>, DbErr> {
        run!(self, statement, fetch_all, |rows| {
            rows.into_iter().map(QueryResult::from).collect()
        })
    }
}
