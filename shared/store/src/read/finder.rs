//! Records by id, again and again on one connection.
//!
//! The pool asks a connection whether it still lives whenever it gets it back: a second round trip for every statement,
//! and more work than reading one row. Whoever reads all the time keeps its connection for a while.

use std::{
    marker::PhantomData,
    sync::Arc,
    time::{Duration, Instant},
};

use jetline_records::{IdType, Key, Record, RecordId, Table};
use sea_orm::{
    DatabaseConnection, DbBackend, DbErr, FromQueryResult, RuntimeErr, SqlxError,
    sqlx::{AssertSqlSafe, Postgres, pool::PoolConnection, postgres::PgRow, query},
};

use super::records::{ANY, Found, find, sql};

/// A kept connection that was idle for longer goes back to the pool, which sees to it that it lives.
const IDLE: Duration = Duration::from_secs(1);

/// A kept connection goes back after so long, however busy it is: the pool lets none grow too old.
const KEEP: Duration = Duration::from_mins(1);

/// Finds records of one dataset.
pub struct Finder<R> {
    db: DatabaseConnection,
    sql: Arc<str>,
    keeps: bool,
    kept: Option<Kept>,
    of: PhantomData<fn() -> R>,
}

struct Kept {
    connection: PoolConnection<Postgres>,
    since: Instant,
    used: Instant,
}

impl<R: Record> Finder<R> {
    /// `keeps` says whether it may keep a connection of the pool for itself. Only one to PostgreSQL is worth it.
    #[must_use]
    pub fn new(db: DatabaseConnection, keeps: bool) -> Self {
        Self {
            keeps: keeps && db.get_database_backend() == DbBackend::Postgres,
            sql: sql(&Table::of::<R>(), ANY).into(),
            db,
            kept: None,
            of: PhantomData,
        }
    }

    /// The records that have one of these ids, in no order, as [`find`] finds them. A connection on which that failed,
    /// or was given up, is not kept.
    pub async fn find(&mut self, ids: &[R::Id]) -> Result<Vec<Found<R>>, DbErr> {
        if !self.keeps {
            return find(&self.db, ids).await;
        }
        let mut kept = self.connection().await?;
        let rows = self.rows(&mut kept.connection, ids).await?;
        kept.used = Instant::now();
        self.kept = Some(kept);
        let found = rows
            .into_iter()
            .map(|row| Found::from_query_result(&row.into(), ""));
        found.collect()
    }

    /// Whether it has a connection that nobody else can use.
    #[must_use]
    pub fn is_keeping(&self) -> bool {
        self.kept.is_some()
    }

    /// Gives the connection back, if one is kept.
    pub fn release(&mut self) {
        self.kept = None;
    }

    async fn connection(&mut self) -> Result<Kept, DbErr> {
        let kept = self.kept.take();
        if let Some(kept) =
            kept.filter(|kept| kept.used.elapsed() < IDLE && kept.since.elapsed() < KEEP)
        {
            return Ok(kept);
        }
        let pool = self.db.get_postgres_connection_pool();
        let connection = pool
            .acquire()
            .await
            .map_err(|error| DbErr::Conn(RuntimeErr::SqlxError(error.into())))?;
        let now = Instant::now();
        Ok(Kept {
            connection,
            since: now,
            used: now,
        })
    }

    async fn rows(
        &self,
        connection: &mut PoolConnection<Postgres>,
        ids: &[R::Id],
    ) -> Result<Vec<PgRow>, DbErr> {
        let keys = ids.iter().map(RecordId::key);
        let statement = query(AssertSqlSafe(self.sql.clone()));
        let statement = match R::Id::TYPE {
            IdType::Int => statement.bind(keys.filter_map(|key| int(&key)).collect::<Vec<_>>()),
            IdType::Text => statement.bind(keys.filter_map(text).collect::<Vec<_>>()),
        };
        let rows = statement.fetch_all(&mut **connection).await;
        rows.map_err(|error: SqlxError| DbErr::Query(RuntimeErr::SqlxError(error.into())))
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
