//! The writer on real servers, and the order of lines under random schedules.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod contention;
mod doubles;
mod fixtures;
mod order;
mod outages;
mod writing;
