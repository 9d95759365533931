//! The epochs in the ledger: begun and ended.

mod dedup_store;
pub(crate) mod epoch;

pub use dedup_store::{LastDedupStore, NewDedupStore};
pub use epoch::{BeginError, CurrentEpoch};
use sea_orm::DatabaseConnection;

use crate::{Database, ledger::Clock};

/// The epochs: begun and ended.
#[derive(Clone, Debug)]
pub struct EpochLedger {
    db: DatabaseConnection,
    now: Clock,
}

impl EpochLedger {
    /// The ledger of a database.
    pub(crate) fn new(database: &Database, now: Clock) -> Self {
        Self { db: database.connection().clone(), now }
    }
}
