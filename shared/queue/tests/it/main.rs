//! Every adapter keeps the promises of the port, and each its own.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod conformance;
mod damaged;
mod fixtures;
mod in_process;
mod jetstream;
mod ledgers;
mod recovery;
mod refusals;
