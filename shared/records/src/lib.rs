//! Records: the [`Record`] trait, one file per dataset, and the pure steps from the bytes of a line to a [`Row`].
//!
//! No I/O. A line is parsed and validated so completely that the database can store every valid record; database
//! constraints of the user's own may still refuse one.

pub mod decimal;
mod integer;
mod key;
mod number;
pub mod parse;
pub mod products;
mod record;
pub mod registry;
pub mod reject;
mod row;

pub use decimal::Decimal;
pub use key::{IdType, RecordId};
pub use record::{Record, Violation, check};
pub use registry::{Dataset, DatasetVisitor};
pub use reject::{Reason, Rejection};
pub use row::{Column, Row, Table};
