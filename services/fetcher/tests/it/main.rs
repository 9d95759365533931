//! The fetcher with an S3 endpoint, a queue and a ledger.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod faults;
mod formats;
mod listing;
mod open;
mod outcomes;
mod reading;
mod refusals;
mod replay_requests;
mod retention;
mod scene;
