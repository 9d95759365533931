//! Every adapter against the port's contract, and Redis against what happens to servers.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod conformance;
mod in_memory;
mod model;
mod redis;
mod redis_faults;
mod redis_layout;
mod redis_place;
mod without_store;
