//! Datasets are declarations: TOML files that name columns, their types and constraints. A declaration turns the bytes of a
//! record into a row, and a row into the record again. No I/O.
//!
//! A record is parsed and validated so completely that the database can store every valid one; database constraints of the
//! user's own may still refuse one.

mod constraints;
mod dataset;
mod datasets;
mod declaration;
mod declared_format;
mod destination;
mod expiry;
mod fingerprint;
mod infer;
mod json;
mod names;
mod number;
mod query;
mod record;
mod redaction;
mod reject;
mod render;
mod unknown;
mod value;

pub use constraints::{Constraint, Format};
pub use dataset::{Column, Dataset, Deleted, MAX_KEY_BYTES, UnknownFieldPolicy};
pub use datasets::{Datasets, PRODUCTS};
pub use declaration::{DeclarationError, MAX_COLUMNS, parse};
pub use declared_format::DeclaredFormat;
pub use destination::{ChangeKind, Delay, Destination, Template, Unit};
pub use infer::{InferError, Inference};
pub use json::JsonType;
pub use names::is_name;
pub use query::Query;
pub use record::{Header, Origin, Row};
pub use redaction::{Redaction, RedactionKey, RedactionKeyError};
pub use reject::{Reason, Rejection, UnknownReason};
pub use unknown::{MAX_UNKNOWN_PATHS, UnknownField, UnknownFields};
pub use value::{Type, Value};
