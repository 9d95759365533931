//! The table does not depend on the schedule: chunks are claimed and committed in any order by several writers, with
//! crashes between any two steps, duplicates, losses of the queue and of the dedup store, a database that takes back its
//! last commits, chunks that are given up, and replays. Each schedule drives the real steps, and ends in a comparison
//! with a fold over the lines.
//!
//! A schedule that ends wrong prints its seed: `ORDER_SEED=123` runs that seed alone and shows its steps, and
//! `ORDER_RUNS=5000` runs so many seeds instead of the default.

mod directed;
mod files;
mod notes;
mod place;
mod random;
mod replays;
mod rule;
mod torn;
mod world;
mod writer;
