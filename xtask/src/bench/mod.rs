//! `cargo xtask bench`: speed and memory on real servers.

mod against;
mod cases;
mod data;
mod freshness;
mod intake;
mod listing;
mod peers;
mod postgres;
mod processes;
mod read;
mod report;
mod services;
mod wrk;

use std::{
    env, fs,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::ValueEnum;
use jetline_testkit::{installation::Installation, process::prefer_programs_in, programs};

use crate::{generate, install, signals::Interrupt};
use report::{Measured, Outcome, Run};

/// Measure speed and memory on real servers.
///
/// Builds the services, makes the data once, starts fresh servers for every run and ends them. For Linux. Results are
/// printed as Markdown and written as JSON to `target/bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure; several are separated by commas.
    #[arg(value_enum, value_delimiter = ',', default_value = "load")]
    benchmarks: Vec<Benchmark>,
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
    /// Measure only the cases that have this text in their names, or one of several; writes no results.
    #[arg(long, value_name = "TEXT")]
    cases: Vec<String>,
    /// How often each case is measured, in turns.
    #[arg(long, default_value = "3")]
    runs: NonZeroUsize,
    /// The size of the large object; it takes twice as much disk, and the database several times as much.
    #[arg(long, default_value_t = 2.0)]
    gib: f64,
    /// How long reads are measured each time.
    #[arg(long, default_value = "10")]
    seconds: NonZeroU64,
    /// Which servers: those of this machine, or PostgreSQL 18 and NATS 2.15, which are installed in the target directory.
    #[arg(long, value_enum, default_value = "installed")]
    servers: Versions,
    /// Delays each flush of PostgreSQL's log by so many milliseconds, as on a slow disk.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=100))]
    flush_delay: u16,
    /// There is nothing else to measure than `jetline`.
    #[arg(long, hide = true, value_parser = ["jetline"])]
    only: Option<String>,
    /// Measure programs that are built already, instead of building them.
    #[arg(long, value_name = "DIR")]
    binaries: Option<PathBuf>,
    /// Compare the CPU time of the programs with that of those in this directory, instead of writing results.
    #[arg(long, value_name = "DIR")]
    against: Option<PathBuf>,
    /// How often the programs of each directory are measured with `--against`.
    #[arg(long, default_value = "7")]
    turns: NonZeroUsize,
}

/// Versions of the servers.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Versions {
    Installed,
    Current,
}

/// The benchmarks, by name.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Benchmark {
    /// All of the following.
    All,
    /// New data into an empty database.
    Load,
    /// The same files again, and the same content under new keys.
    Reload,
    /// The next day's files, in which 1 % of the records has changed.
    NextDay,
    /// One object of `--gib`, and the same lines as four objects.
    LargeObject,
    /// Objects of 100 lines.
    SmallObjects,
    /// `jetline --exit` on SQLite.
    Embedded,
    /// GET by id, and how old the answers may be while rows are updated.
    Read,
    /// What a record costs in Redis.
    DedupMemory,
    /// 1, 2, 4 and 8 writers.
    Scaling,
    /// Every field but the key kept as JSON.
    Documents,
    /// The same records as CSV.
    Csv,
    /// A destination for the changes, without a courier.
    Outbox,
    /// Deliveries to an endpoint that answers at once.
    Deliver,
    /// Records that are posted, one in each request.
    Intake,
    /// A listing of a bucket whose objects are all known; `--lines` is their number.
    Listing,
    /// What a user would pick instead.
    Peers,
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    install::missing_servers()?;
    if arguments.servers == Versions::Current {
        prefer_programs_in(install::current_servers()?);
    }
    let bench = Bench {
        arguments,
        interrupt: Interrupt::listen()?,
        programs: match &arguments.binaries {
            Some(directory) => directory.clone(),
            None => programs::build(true)?,
        },
        runs: arguments.runs.get(),
    };
    let benchmarks = match &arguments.benchmarks[..] {
        all if all.contains(&Benchmark::All) => &Benchmark::value_variants()[1..],
        some => some,
    };
    if let Some(other) = &arguments.against {
        return against::compare(&bench, other, benchmarks, arguments.turns.get());
    }
    let results = programs::target_directory()?.join("bench");
    fs::create_dir_all(&results)?;
    for benchmark in benchmarks {
        println!("benchmark {}", benchmark.name());
        let (what, cases) = benchmark.measure(&bench)?;
        let report = report::report(what, &cases)?;
        println!("\n{}", report::markdown(&report));
        if !arguments.cases.is_empty() {
            continue;
        }
        let file = results.join(format!("{}.json", benchmark.name()));
        fs::write(&file, serde_json::to_string_pretty(&report)?)?;
        println!("as JSON: {}", file.display());
    }
    Ok(())
}

impl Benchmark {
    fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    fn measure(self, bench: &Bench) -> Outcome {
        match self {
            Self::All | Self::Load => cases::load(bench),
            Self::Reload => cases::reload(bench),
            Self::NextDay => cases::next_day(bench),
            Self::LargeObject => cases::large_object(bench),
            Self::SmallObjects => cases::small_objects(bench),
            Self::Embedded => cases::embedded(bench),
            Self::Read => read::run(bench),
            Self::DedupMemory => cases::dedup_memory(bench),
            Self::Scaling => cases::scaling(bench),
            Self::Documents => cases::documents(bench),
            Self::Csv => cases::csv(bench),
            Self::Outbox => cases::outbox(bench),
            Self::Deliver => cases::deliver(bench),
            Self::Listing => listing::run(bench),
            Self::Intake => intake::run(bench),
            Self::Peers => peers::run(bench),
        }
    }
}

/// What every benchmark works with.
#[derive(Clone)]
struct Bench<'a> {
    arguments: &'a Arguments,
    interrupt: Interrupt,
    /// The directory of the programs.
    programs: PathBuf,
    runs: usize,
}

/// A case's name, and how it is measured.
type Case<'a> = (String, Box<dyn Fn() -> anyhow::Result<Run> + 'a>);

fn case<'a>(name: &str, measure: impl Fn() -> anyhow::Result<Run> + 'a) -> Case<'a> {
    (name.to_owned(), Box::new(measure))
}

impl Bench<'_> {
    /// The services with these settings; others are those of this process.
    fn installation(&self, folder: &Path, settings: &[(&str, &str)]) -> Installation {
        let mut installation = Installation::new(&self.programs, folder, env::vars());
        for (name, value) in settings {
            installation.set(name, value);
        }
        installation
    }

    /// The lines that the arguments describe.
    fn lines(&self) -> generate::Arguments {
        let lines = self.arguments.lines.get();
        let ids = self.arguments.ids;
        generate::Arguments {
            lines,
            ids: ids.map_or((lines * 4).div_ceil(5), Into::into),
            files: self.arguments.files.get(),
            seed: self.arguments.seed,
            ..generate::Arguments::default()
        }
    }

    /// Measures all cases in turns: a machine whose speed varies is the same for all of them.
    fn measure(&self, mut cases: Vec<Case>) -> anyhow::Result<Measured> {
        let texts = &self.arguments.cases;
        if !texts.is_empty() {
            cases.retain(|(name, _)| texts.iter().any(|text| name.contains(text)));
            ensure!(!cases.is_empty(), "no case has {} in its name", texts.join(" or "));
        }
        let mut measured: Vec<Vec<Run>> = cases.iter().map(|_| Vec::new()).collect();
        for number in 1..=self.runs {
            for ((name, measure), runs) in cases.iter().zip(&mut measured) {
                self.interrupt.check()?;
                let run = measure().with_context(|| format!("run {number}, {name}"))?;
                println!("run {number}, {name}: {:.2} s", run.time.as_secs_f64());
                runs.push(run);
            }
        }
        let names = cases.into_iter().map(|(name, _)| name);
        Ok(names.zip(measured).collect())
    }
}

/// `1 writer`, `2 writers`.
fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
