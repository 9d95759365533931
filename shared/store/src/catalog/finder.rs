//! Finds records by key, with a connection that is kept between queries.
//!
//! The pool pings a connection whenever it is returned: a second round trip for every statement, which costs more than
//! reading one row. A finder that is in constant use therefore keeps its connection for a while.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures::TryStreamExt;
use jetline_core::Key;
use jetline_datasets::{Dataset, Type};
use sea_orm::{
    DatabaseConnection, DbErr, RuntimeErr, SqlxError, StreamTrait,
    sqlx::{AssertSqlSafe, Postgres, pool::PoolConnection, query},
};

use super::records::{READ, StoredRecord, by_key, sql};
use crate::{Error, database::query_failed, dialect};

/// A kept connection that was idle for longer is returned to the pool, which checks it.
const MAX_IDLE: Duration = Duration::from_secs(1);

/// A kept connection is returned to the pool after this time, however busy it is: the pool limits the age of
/// connections.
const MAX_KEPT: Duration = Duration::from_mins(1);

/// Finds records of one dataset.
pub struct Finder {
    db: DatabaseConnection,
    dataset: Arc<Dataset>,
    sql: Arc<str>,
    keeps: bool,
    kept: Option<Kept>,
}

struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
    used: Instant,
}

impl Finder {
    /// `keeps` says whether it may keep a connection of the pool; with SQLite it never does, as there is no gain.
    pub(super) fn new(db: DatabaseConnection, dataset: Arc<Dataset>, keeps: bool) -> Self {
        let dialect = dialect::of(&db);
        Self {
            keeps: keeps && dialect.keepable_connections(&db) > 0,
            sql: sql(dialect, &dataset).into(),
            db,
            dataset,
            kept: None,
        }
    }

    /// Calls `each` with the records that have one of these keys, in no order, one by one as rows arrive: there may be
    /// many, and large ones. A connection on which that failed or was cancelled is not kept.
    pub async fn find(
        &mut self,
        keys: Vec<Key>,
        each: impl FnMut(StoredRecord),
    ) -> Result<(), Error> {
        let found = self.stream(keys, each).await;
        found.map_err(|error| query_failed(READ, error))
    }

    async fn stream(
        &mut self,
        keys: Vec<Key>,
        mut each: impl FnMut(StoredRecord),
    ) -> Result<(), DbErr> {
        let dialect = dialect::of(&self.db);
        if !self.keeps {
            let statement = by_key(&self.db, &self.dataset, keys)?;
            let mut rows = self.db.stream_raw(statement).await?;
            while let Some(row) = rows.try_next().await? {
                each(StoredRecord::of(dialect, &self.dataset, &row)?);
            }
            return Ok(());
        }
        let mut kept = self.connection().await?;
        let statement = query(AssertSqlSafe(self.sql.clone()));
        let statement = match self.dataset.key().column_type {
            Type::Bigint => statement.bind(keys.iter().filter_map(int).collect::<Vec<_>>()),
            _ => statement.bind(keys.into_iter().filter_map(text).collect::<Vec<_>>()),
        };
        let failed = |error: SqlxError| DbErr::Query(RuntimeErr::SqlxError(error.into()));
        let mut rows = statement.fetch(&mut *kept.connection);
        while let Some(row) = rows.try_next().await.map_err(failed)? {
            each(StoredRecord::of(dialect, &self.dataset, &row.into())?);
        }
        drop(rows);
        kept.used = Instant::now();
        self.kept = Some(kept);
        Ok(())
    }

    /// Whether it keeps a connection of the pool.
    #[must_use]
    pub fn is_keeping(&self) -> bool {
        self.kept.is_some()
    }

    /// Returns the kept connection to the pool, if there is one.
    pub fn release(&mut self) {
        self.kept = None;
    }

    async fn connection(&mut self) -> Result<Kept, DbErr> {
        let kept = self.kept.take();
        if let Some(kept) =
            kept.filter(|kept| kept.used.elapsed() < MAX_IDLE && kept.since.elapsed() < MAX_KEPT)
        {
            return Ok(kept);
        }
        let pool = self.db.get_postgres_connection_pool();
        let connection = pool
            .acquire()
            .await
            .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
        let now = Instant::now();
        Ok(Kept { connection, since: now, used: now })
    }
}

fn int(key: &Key) -> Option<i64> {
    match key {
        Key::Int(id) => Some(*id),
        Key::Text(_) => None,
    }
}

fn text(key: Key) -> Option<String> {
    match key {
        Key::Text(id) => Some(id),
        Key::Int(_) => None,
    }
}
