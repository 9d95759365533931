//! The intake: records that clients post are validated, written to the store as objects, and registered in the ledger, in
//! this order. A post is acknowledged when its records are durable and registered.

mod batcher;
mod body;
mod endpoints;
mod headers;
mod memory;
mod parts;
mod posting;
mod spool;
mod waiting;
mod write_error;
mod writer;

pub(crate) use endpoints::{IntakeApi, PostRecords};
pub use parts::{IntakeMode, IntakeParts, IntakeSettings, ObjectsWakeup};
pub(crate) use posting::Intake;
