//! The conformance suite on both adapters, and what is particular to each.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod conformance;
mod directory;
mod oddities;
mod s3;
