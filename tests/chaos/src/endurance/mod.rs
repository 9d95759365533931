//! Long runs of the whole installation on real servers: a server that stays away, and hours of load.
//!
//! They look for what short tests cannot show: growth, leaks, and work that is given up. Every number that is to hold
//! is a [`report::Bound`]; a run whose bounds do not all hold fails, and its report is written all the same.

mod deployment;
mod feed;
mod http;
mod ledger;
mod lines;
pub(crate) mod outage;
mod procfs;
mod reads;
mod report;
mod run;
mod sample;
mod servers;
mod slope;
pub(crate) mod soak;
mod watch;
