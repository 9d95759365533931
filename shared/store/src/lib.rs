//! The database: the ledger, the bulk upsert and the queries of the API.
//!
//! The database is the only source of truth. A chunk's rows, its rejected lines and its ledger entry commit in one
//! transaction, and only under the epoch that is in force in the ledger. PostgreSQL and SQLite are supported; what
//! differs is in `dialect`.

mod api_keys;
pub mod catalog;
pub mod chunks;
pub mod database;
mod declarations;
mod dialect;
pub mod entities;
pub mod epochs;
mod error;
mod history;
mod ledger;
pub mod objects;
pub mod outbox;
mod statement;
mod transaction;
mod unknown_fields;
mod upsert;
mod watermark;

pub use api_keys::ApiKey;
pub use catalog::Catalog;
pub use chunks::{
    ChunkLedger, ChunkOutcome, ChunkRows, CommitOutcome, RefusedRow, RejectedLine, SupersededBy,
};
pub use database::{Database, DatabaseSettings, ReadOptions};
pub use declarations::{
    DatasetSettings, DeclarationFile, RedactionSettings, is_directory_of_declarations,
};
pub use entities::objects::State as ObjectState;
pub use epochs::EpochLedger;
pub use error::{DriverError, Error};
pub use ledger::{Clock, Ledger};
pub use objects::ObjectLedger;
pub use outbox::Outbox;
pub use upsert::{KeyClaim, UpsertRow};
