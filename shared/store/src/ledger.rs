//! The ledger: which objects and chunks there are, what is committed, and what is missing.

use chrono::{DateTime, Utc};

use crate::{ChunkLedger, Database, EpochLedger, ObjectLedger};

/// The clock for registrations and commits.
pub type Clock = fn() -> DateTime<Utc>;

/// The ledger of one database, in three parts.
#[derive(Clone, Debug)]
pub struct Ledger {
    /// For fetchers.
    pub objects: ObjectLedger,
    /// For writers.
    pub chunks: ChunkLedger,
    /// For writers.
    pub epochs: EpochLedger,
    database: Database,
}

impl Ledger {
    /// The ledger of a database.
    #[must_use]
    pub fn new(database: &Database, now: Clock) -> Self {
        Self {
            objects: ObjectLedger::new(database, now),
            chunks: ChunkLedger::new(database, now),
            epochs: EpochLedger::new(database, now),
            database: database.clone(),
        }
    }

    /// The database that holds it.
    #[must_use]
    pub fn database(&self) -> &Database {
        &self.database
    }
}
