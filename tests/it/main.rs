//! End-to-end tests of the programs on real servers: every row, rejected line and count is compared with what one reader
//! would get from the same files, also under faults.

#![expect(clippy::unwrap_used, reason = "a test that cannot continue fails")]

mod bad_destinations;
mod bad_input;
mod bad_objects;
mod browser;
mod changing_objects;
mod collector;
mod database_file;
mod datasets;
mod deliveries;
mod deployment;
mod exits;
mod faults;
mod first_version;
mod formats;
mod health;
mod intake;
mod ledger_commands;
mod load;
mod metrics;
mod output;
mod own_files;
mod page;
mod poison;
mod replays;
mod secrets;
mod settings;
mod sources;
mod standalone;
mod startup;
mod terminal;
mod tls;
mod traces;
mod wait;
mod wallets;
