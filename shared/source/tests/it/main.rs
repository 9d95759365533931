//! The conformance suites on both adapters, and tests of each adapter.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod conformance;
mod directory;
mod oddities;
mod s3;
mod uploads;
