//! The chunks in the ledger: admitted, and committed with their rows.

mod admit;
mod commit;
mod superseded_by;
mod suspect;

pub use admit::Admission;
pub use commit::{ChunkOutcome, ChunkRows, CommitOutcome, RefusedRow, RejectedLine};
use sea_orm::DatabaseConnection;
pub use superseded_by::SupersededBy;
pub use suspect::SuspectAction;

use crate::{Database, dialect, ledger::Clock};

/// The chunks: admitted, and committed with their rows.
#[derive(Clone, Debug)]
pub struct ChunkLedger {
    db: DatabaseConnection,
    now: Clock,
}

impl ChunkLedger {
    /// The ledger of a database.
    pub(crate) fn new(database: &Database, now: Clock) -> Self {
        Self { db: database.connection().clone(), now }
    }

    /// The database system, as OpenTelemetry's conventions for databases call it.
    #[must_use]
    pub fn system(&self) -> &'static str {
        dialect::of(&self.db).system()
    }
}
