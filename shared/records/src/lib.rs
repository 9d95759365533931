//! Records: the [`Record`] trait, one file per dataset, and the pure steps from the bytes of a line to a [`Row`].
//!
//! No I/O. A line is parsed and validated so completely that the database can store every valid record; database
//! constraints of the user's own may still refuse one.

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
pub use registry::{Dataset, DatasetVisitor};
pub use reject::{Reason, Rejection};
pub use row::{Column, Row, Table};
pub use verdict::Verdict;
