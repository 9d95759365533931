//! The writer against real parts, and the order of lines against every schedule.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod contention;
mod fixtures;
mod order;
mod outages;
mod watched;
mod writing;
