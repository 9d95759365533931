//! The table does not depend on the schedule: several writers claim and commit chunks in any order, with crashes
//! between any two steps, redeliveries, data loss of the queue and of the dedup store, restored databases,
//! dead-lettered chunks, replays, and new declarations of the dataset. Each schedule runs the real steps, and its result
//! is compared with a fold over the lines.
//!
//! A schedule that fails prints its seed: `ORDER_SEED=123` runs that seed alone and prints its steps, and
//! `ORDER_RUNS=5000` sets the number of seeds.

#![expect(clippy::unwrap_used, reason = "a test fails where it unwraps")]

mod check;
mod declarations;
mod directed;
mod files;
mod non_atomic;
mod random;
mod replays;
mod rule;
mod servers;
mod simulation;
mod writer;
