//! What a line becomes: the [`Record`] trait, one file per dataset, and the pure steps from bytes to a [`Row`].
//!
//! Nothing here does IO. A line is parsed and validated so far that whatever passes can be stored:
//! the database never has the first word on a record, only on its place.

pub mod decimal;
mod epoch;
pub mod fingerprint;
mod integer;
mod key;
mod ledger;
mod number;
pub mod parse;
pub mod position;
pub mod products;
mod record;
pub mod registry;
pub mod reject;
mod row;
mod verdict;

pub use decimal::Decimal;
pub use epoch::{Epoch, EpochId, Mode};
pub use fingerprint::Fingerprint;
pub use key::{IdType, Key, RecordId};
pub use ledger::LedgerIdentity;
pub use position::{ObjectId, Position, Rank};
pub use record::{Record, Violation, check};
pub use registry::{Dataset, Registry};
pub use reject::{Reason, Rejection};
pub use row::{Column, Row, Table};
pub use verdict::Verdict;
