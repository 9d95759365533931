//! The conformance suite on all adapters, and tests of each adapter.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test")]

mod conformance;
mod damaged;
mod fixtures;
mod in_process;
mod jetstream;
mod ledgers;
mod recovery;
mod refusals;
