//! The API over real databases.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod auth;
mod base;
mod binary;
mod coalescing;
mod document;
mod errors;
mod freshness;
mod ingestion;
mod limits;
mod memory;
mod pooler;
mod records;
mod serving;
mod socket;
