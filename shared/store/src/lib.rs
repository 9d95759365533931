//! The database through sea-orm: the ledger, the bulk upsert and what the API reads.
//!
//! The database alone is trusted. A chunk's rows, its rejected lines and its ledger entry commit in one transaction,
//! and only under the epoch that the ledger holds. PostgreSQL and SQLite are supported; where they differ, the code
//! says so in one place each: [`database`], `backend.rs` and the two files of `commit/upsert`.

mod backend;
pub mod commit;
pub mod database;
pub mod entities;
mod error;
pub mod ledger;
pub mod pooler;
pub mod read;
pub mod tls;

pub use commit::{
    ChunkEntry, ChunkOutcome, ChunkRows, CommitOutcome, Counts, Judged, OutdoneBy, Refused,
    RejectedLine,
};
pub use database::{DatabaseSettings, connect};
pub use error::Error;
pub use ledger::Ledger;
