//! The conformance suite on all adapters, and Redis under faults of the server.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod conformance;
mod in_memory;
mod model;
mod redis;
mod redis_faults;
mod redis_layout;
mod redis_store_info;
mod without_store;
