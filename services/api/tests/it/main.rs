//! The API on real databases.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod auth;
mod binary;
mod coalescing;
mod datasets;
mod document;
mod errors;
mod fixtures;
mod freshness;
mod ingestion;
mod intake;
mod limits;
mod lists;
mod memory;
mod page;
mod pooler;
mod queries;
mod records;
mod rights;
mod serving;
mod socket;
mod transfer;
