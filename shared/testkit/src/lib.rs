//! Real servers and data for tests: each test gets its own database, stream, key prefix and bucket.
//!
//! `cargo xtask test` starts one server of each kind and names it in an environment variable; a test that must restart
//! or wipe a server starts a private one. A server that is missing fails the test and says how to get it.

pub mod background;
pub mod crm;
pub mod dedup;
pub mod disk;
pub mod http;
pub mod installation;
pub mod nats;
pub mod postgres;
pub mod process;
pub mod programs;
pub mod proxy;
pub mod redis;
pub mod s3;
pub mod tls;
#[cfg(target_os = "linux")]
pub mod usage;
