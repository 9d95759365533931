//! The ledger: which objects and chunks there are, what is committed, and what is missing.

mod admit;
mod dismiss;
pub(crate) mod epoch;
mod gaps;
mod identity;
mod lease;
mod loading;
mod no_accepted_lines;
mod refusals;
mod register;
mod reject_limit;
mod replay;
mod settle;
pub(crate) mod superseded;
mod suspect;

pub use admit::Admission;
use chrono::{DateTime, Utc};
pub use dismiss::Dismissal;
pub use epoch::{BeginError, CurrentEpoch};
pub use gaps::Gap;
pub use identity::{LastDedupStore, NewDedupStore};
use jetline_records::ObjectId;
pub use lease::{LeaseLimits, ReadOutcome};
pub use loading::LoadingObject;
pub use refusals::{OpenObject, Refusal};
pub use register::NewObject;
pub use replay::{Replay, ReplayOutcome, Replayed, Stored};
use sea_orm::{ConnectionTrait, DatabaseConnection, DatabaseTransaction, DbBackend};
pub use settle::Ended;
pub use suspect::SuspectAction;

use crate::{
    Error,
    backend::{self, Lock},
    database,
};

/// The ledger of one database.
#[derive(Clone, Debug)]
pub struct Ledger {
    pub(crate) db: DatabaseConnection,
    pub(crate) now: fn() -> DateTime<Utc>,
}

impl Ledger {
    /// The ledger of a database; `now` is the clock for registrations and commits.
    #[must_use]
    pub fn new(db: DatabaseConnection, now: fn() -> DateTime<Utc>) -> Self {
        Self { db, now }
    }

    /// The connection.
    #[must_use]
    pub fn connection(&self) -> &DatabaseConnection {
        &self.db
    }

    /// The database system, as OpenTelemetry's conventions for databases call it.
    #[must_use]
    pub fn system(&self) -> &'static str {
        match self.db.get_database_backend() {
            DbBackend::Postgres => "postgresql",
            DbBackend::Sqlite => "sqlite",
            _ => "other_sql",
        }
    }

    /// The settled watermark: the first object that is not settled. Every object below it is done or failed, and stays
    /// so unless it is replayed.
    pub async fn settled(&self) -> Result<ObjectId, Error> {
        settled(&self.db).await
    }

    /// The number of the next object to be registered.
    pub async fn next(&self) -> Result<ObjectId, Error> {
        next_object(&self.db).await
    }

    /// Begins a transaction that excludes commits and changes of the epoch.
    async fn begin_exclusive(&self) -> Result<DatabaseTransaction, Error> {
        let tx = database::begin(&self.db).await?;
        backend::lock(&tx, Lock::EpochExclusive).await?;
        Ok(tx)
    }
}

pub(crate) async fn commit(tx: DatabaseTransaction, action: &'static str) -> Result<(), Error> {
    tx.commit().await.map_err(|error| Error::classify(action, error))
}

#[derive(sea_orm::FromQueryResult)]
struct Number {
    number: i64,
}

async fn settled(db: &impl ConnectionTrait) -> Result<ObjectId, Error> {
    let sql = "SELECT COALESCE(
        (SELECT MIN(id) FROM objects WHERE state NOT IN ('done', 'failed')),
        (SELECT MAX(id) + 1 FROM objects), 1) AS number";
    number(db, "read the settled watermark", sql).await
}

/// The number after that of the last registered object.
async fn next_object(db: &impl ConnectionTrait) -> Result<ObjectId, Error> {
    let sql = "SELECT COALESCE(MAX(id), 0) + 1 AS number FROM objects";
    number(db, "read the last object", sql).await
}

async fn number(
    db: &impl ConnectionTrait,
    action: &'static str,
    sql: &str,
) -> Result<ObjectId, Error> {
    let rows: Vec<Number> = backend::query(db, action, sql, []).await?;
    rows.first()
        .and_then(|row| ObjectId::new(row.number))
        .ok_or_else(|| Error::Corrupt("an object number is beyond 31 bits".to_owned()))
}
