//! The dedup store in which the last epoch began.

use chrono::{DateTime, TimeDelta, Utc};
use jetline_core::EpochId;
use sea_orm::FromQueryResult;

use super::EpochLedger;
use crate::{
    Error,
    statement::{execute, query},
};

/// The dedup store in which the last epoch began, as far as it is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LastDedupStore {
    /// The epoch in force, which may have begun later, without a store.
    pub epoch: EpochId,
    /// Its address.
    pub address: Option<String>,
    /// Its identity.
    pub identity: Option<String>,
    /// The identity of the store before it.
    pub before: Option<String>,
    /// How often in a series epochs returned to the store before the last one, or found another ledger in it.
    pub returns: u32,
    /// Time since the last return.
    pub returned_ago: Option<TimeDelta>,
}

/// The dedup store in which an epoch began.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewDedupStore {
    /// Its address.
    pub address: String,
    /// Its identity.
    pub identity: String,
    /// How often in a series epochs returned to the store before the last one, or found another ledger in it, this one
    /// included.
    pub returns: u32,
    /// Whether this epoch did.
    pub is_contended: bool,
}

#[derive(FromQueryResult)]
struct LastStoreRow {
    id: String,
    store_address: Option<String>,
    store_identity: Option<String>,
    store_before: Option<String>,
    store_changes: i32,
    store_changed_at: Option<DateTime<Utc>>,
}

impl EpochLedger {
    /// The dedup store in which the last epoch began.
    pub async fn last_dedup_store(&self) -> Result<Option<LastDedupStore>, Error> {
        let sql = "SELECT id, store_address, store_identity, store_before, store_changes, store_changed_at
             FROM epoch";
        let rows: Vec<LastStoreRow> =
            query(&self.db, "read the epoch's dedup store", sql, []).await?;
        let Some(row) = rows.into_iter().next() else {
            return Ok(None);
        };
        let damaged = || Error::Corrupt("the epoch's id cannot be read".to_owned());
        Ok(Some(LastDedupStore {
            epoch: row.id.parse().map_err(|_| damaged())?,
            address: row.store_address,
            identity: row.store_identity,
            before: row.store_before,
            returns: row.store_changes.unsigned_abs(),
            returned_ago: row.store_changed_at.map(|at| (self.now)() - at),
        }))
    }

    /// Records the dedup store in which an epoch began, unless the epoch has ended.
    pub async fn record_dedup_store(
        &self,
        epoch: EpochId,
        store: NewDedupStore,
    ) -> Result<(), Error> {
        let changed_at = if store.is_contended { "$4" } else { "COALESCE(store_changed_at, $4)" };
        let sql = format!(
            "UPDATE epoch SET store_address = $1, store_identity = $2, store_changes = $3,
             store_before = CASE WHEN store_identity = $2 THEN store_before ELSE store_identity END,
             store_changed_at = {changed_at} WHERE id = $5"
        );
        let values = [
            store.address.into(),
            store.identity.into(),
            i32::try_from(store.returns).unwrap_or(i32::MAX).into(),
            (self.now)().into(),
            epoch.to_string().into(),
        ];
        execute(&self.db, "record the epoch's dedup store", &sql, values).await.map(drop)
    }
}
