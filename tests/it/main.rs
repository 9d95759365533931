//! The programs as they are shipped, on real servers: every row, every rejected line and every count is compared with
//! what one reader would get from the same files, whatever happens on the way.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod bad_objects;
mod changing_objects;
mod collector;
mod database_file;
mod deployment;
mod faults;
mod health;
mod http;
mod ledger;
mod load;
mod metrics;
mod output;
mod patience;
mod poison;
mod programs;
mod replays;
mod secrets;
mod settings;
mod standalone;
mod startup;
mod tls;
mod traces;
mod ways_out;
