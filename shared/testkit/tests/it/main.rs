//! Tests of the testkit on real servers.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod disk;
mod postgres;
mod proxy;
mod s3;
mod s3_stopped;
mod statements;
