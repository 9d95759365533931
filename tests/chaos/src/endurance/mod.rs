//! Long runs of the whole installation on real servers: outages, and hours of load.
//!
//! They detect what short tests cannot: growth, leaks, and failed work. Every limit is a [`report::Limit`]; a run that
//! exceeds one fails, and its report is written anyway.

mod deployment;
mod feed;
mod ledger;
pub(crate) mod outage;
mod reads;
mod report;
mod run;
mod sample;
mod servers;
mod slope;
pub(crate) mod soak;
mod watch;
