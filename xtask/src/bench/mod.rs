//! `cargo xtask bench`: speed and memory on real servers, beside what PostgreSQL's own tools reach in the same run.

use std::{
    cell::OnceCell,
    num::{NonZeroU64, NonZeroUsize},
    path::PathBuf,
};

use clap::ValueEnum;

use crate::{cargo, install, signals::Interrupt};

mod build;
mod data;
mod dedup_memory;
mod document;
mod embedded;
mod endpoint;
mod environment;
mod figures;
mod freshness;
mod large_object;
mod load;
mod next_day;
mod pgbench;
mod plot;
mod postgres;
mod processes;
mod read;
mod reload;
mod report;
mod scaling;
mod services;
mod small_objects;
mod tables;
mod targets;
mod turns;
mod wrk;
mod yardstick;

use build::Binaries;
use data::{Data, Kind};
use report::Report;

/// Measure speed and memory on real servers, beside PostgreSQL's own tools doing the same work.
///
/// Builds the services, makes the data once, starts fresh servers for every run and ends them. For Linux. Results are
/// printed and written as JSON to `target/bench`.
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
    /// Writers at the same time: one for each of two cores.
    #[arg(long, default_value = "2")]
    writers: NonZeroUsize,
    /// How often all sides are measured, in turns.
    #[arg(long, default_value = "3")]
    runs: NonZeroUsize,
    /// The size of the large object; it takes twice as much disk, and the database several times as much.
    #[arg(long, default_value = "2", value_parser = large_object::bytes)]
    gib: u64,
    /// How long reads are measured each time.
    #[arg(long, default_value = "10")]
    seconds: NonZeroU64,
    /// Measure one side only.
    #[arg(long, value_enum)]
    only: Option<SideKind>,
    /// Measure programs that are built already, instead of building them.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
}

/// The benchmarks, by name. A new one is a variant here and a file beside `load.rs`.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// New data into an empty database.
    Load,
    /// The same files again, and the same content under new keys.
    Reload,
    /// The next day's files, in which 1 % of the records has changed.
    NextDay,
    /// One object of `--gib`, beside the same lines as four objects.
    LargeObject,
    /// Objects of 100 lines.
    SmallObjects,
    /// `jetline --exit` on SQLite.
    Embedded,
    /// GET by id, beside pgbench.
    Read,
    /// What a record costs in Redis.
    DedupMemory,
    /// 1, 2, 4 and 8 writers.
    Scaling,
    /// All of these, and then the document.
    All,
    /// Nothing: write the results that are there into `docs/benchmarks.md`.
    Report,
}

/// The two that are compared.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum SideKind {
    /// The programs of this repository.
    Jetline,
    /// PostgreSQL's own tools.
    Yardstick,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let results = cargo::target_directory()?.join("bench");
    let wanted = match arguments.benchmark {
        Benchmark::Report => return document::write(&results),
        Benchmark::All => Benchmark::measured().collect(),
        one => vec![one],
    };
    install::missing_servers()?;
    let bench = Bench {
        arguments,
        interrupt: Interrupt::listen()?,
        binaries: OnceCell::new(),
    };
    let environment = environment::environment()?;
    for benchmark in wanted {
        let Some(measure) = benchmark.measurement() else {
            continue;
        };
        let name = benchmark.name();
        println!("benchmark {name}");
        let report = measure(&bench)?.json(&name, &environment);
        println!("\n{}", tables::markdown(&report));
        let file = report::write(&results, &name, &report)?;
        println!("as JSON: {}", file.display());
    }
    match arguments.benchmark {
        Benchmark::All => document::write(&results),
        _ => Ok(()),
    }
}

type Measurement = fn(&Bench) -> anyhow::Result<Report>;

impl Benchmark {
    /// All that measure something.
    fn measured() -> impl Iterator<Item = Self> {
        let all = Self::value_variants().iter().copied();
        all.filter(|benchmark| benchmark.measurement().is_some())
    }

    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn measurement(self) -> Option<Measurement> {
        Some(match self {
            Self::Load => load::run,
            Self::Reload => reload::run,
            Self::NextDay => next_day::run,
            Self::LargeObject => large_object::run,
            Self::SmallObjects => small_objects::run,
            Self::Embedded => embedded::run,
            Self::Read => read::run,
            Self::DedupMemory => dedup_memory::run,
            Self::Scaling => scaling::run,
            Self::All | Self::Report => return None,
        })
    }
}

/// What every benchmark works with.
struct Bench<'a> {
    arguments: &'a Arguments,
    interrupt: Interrupt,
    binaries: OnceCell<Binaries>,
}

impl Bench<'_> {
    /// The programs, built when they are first needed: the yardstick needs none.
    fn binaries(&self) -> anyhow::Result<&Binaries> {
        if let Some(binaries) = self.binaries.get() {
            return Ok(binaries);
        }
        let binaries = match &self.arguments.binaries {
            Some(directory) => Binaries::from_directory(directory)?,
            None => Binaries::build()?,
        };
        Ok(self.binaries.get_or_init(|| binaries))
    }

    /// The lines that the arguments describe.
    fn kind(&self) -> Kind {
        let lines = self.arguments.lines.get();
        Kind {
            lines,
            ids: self
                .arguments
                .ids
                .map_or((lines * 4).div_ceil(5), Into::into),
            files: self.arguments.files.get(),
            seed: self.arguments.seed,
            changed: None,
            spread: false,
        }
    }

    fn data(&self) -> anyhow::Result<Data> {
        Data::get(self.kind())
    }

    /// How often everything was measured, for the conditions of a report.
    fn turns(&self) -> String {
        match self.arguments.runs.get() {
            1 => "One run of each".to_owned(),
            runs => format!("{runs} runs of each, in turns"),
        }
    }

    /// How the services were set up, for the conditions of a report.
    fn services(&self) -> String {
        format!(
            "Jetline: 1 fetcher, {} writers, NATS, Redis and S3 over HTTP; with the start of the services",
            self.arguments.writers
        )
    }
}
