//! The writer on real servers.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod contention;
mod doubles;
mod fixtures;
mod outages;
mod writing;
