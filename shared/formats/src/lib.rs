//! Formats of records: where each record of an object begins and ends, and how its bytes become a row. No I/O.
//!
//! The format of an object depends only on its key, its first bytes and its declaration, which never change; and the end
//! of a record only on the bytes from the record's start on. So every read of an object finds the same records.

mod compression;
mod csv;
mod detect;
mod format;
mod framing;
mod parser;
mod records;
mod sampler;
mod sniff;
pub mod split;
mod text;

pub use compression::{Compression, Mismatch};
pub use csv::HEAD_BYTES;
pub use detect::detect;
pub use format::{Delimiter, Detected, Format, NotAFormat, extension, extensions, stem};
pub use framing::Damaged;
pub use parser::Parser;
pub use records::{Record, oversized_record, records};
pub use sampler::Sampler;
