//! `cargo xtask bench`: speed and memory on real servers, beside what PostgreSQL's own tools reach in the same run.

use std::{
    num::{NonZeroU64, NonZeroUsize},
    thread::available_parallelism,
};

use crate::{cargo, install, signals::Interrupt};

mod build;
mod data;
mod load;
mod postgres;
mod processes;
mod report;
mod services;
mod yardstick;

/// Measure speed and memory on real servers, beside `psql` doing the same work by hand.
///
/// Builds the services, makes the data once, starts fresh servers for every run and ends them. For Linux.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure.
    #[arg(value_enum, default_value = "load")]
    benchmark: Benchmark,
    /// Lines in all files together.
    #[arg(long, default_value = "1000000")]
    lines: NonZeroU64,
    /// Different ids; four fifths of the lines when not given.
    #[arg(long)]
    ids: Option<NonZeroU64>,
    /// Files.
    #[arg(long, default_value = "4")]
    files: NonZeroU64,
    /// Seed of the lines.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Writers at the same time.
    #[arg(long, default_value = "4")]
    writers: NonZeroUsize,
    /// How often both sides are measured, in turns.
    #[arg(long, default_value = "3")]
    runs: NonZeroUsize,
    /// Measure one side only.
    #[arg(long, value_enum)]
    only: Option<Side>,
}

/// The benchmarks, by name. A new one is a variant here and a file beside `load.rs`.
#[derive(Clone, Copy, clap::ValueEnum)]
enum Benchmark {
    /// New data into an empty database.
    Load,
}

/// The two that are compared.
#[derive(Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Side {
    /// The services of this repository.
    Jetline,
    /// COPY and merge with psql.
    Psql,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    install::missing_servers()?;
    let interrupt = Interrupt::listen()?;
    let report = match arguments.benchmark {
        Benchmark::Load => load::run(arguments, &interrupt)?,
    };
    println!("\n{report}");
    let file = report.write_json(&cargo::target_directory()?.join("bench"))?;
    println!("as JSON: {}", file.display());
    Ok(())
}
fn cores() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}
