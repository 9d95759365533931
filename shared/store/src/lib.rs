//! The database: the ledger, the bulk upsert and the queries of the API.
//!
//! The database is the only source of truth. A chunk's rows, its rejected lines and its ledger entry commit in one
//! transaction, and only under the epoch that is in force in the ledger. PostgreSQL and SQLite are supported; they
//! differ in [`database`], `backend.rs` and the two files of `commit/upsert`.

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
    ChunkEntry, ChunkOutcome, ChunkRows, CommitOutcome, Counts, RefusedRow, RejectedLine,
    SupersededBy, UpsertRow,
};
pub use database::{DatabaseSettings, connect};
pub use error::Error;
pub use ledger::Ledger;
