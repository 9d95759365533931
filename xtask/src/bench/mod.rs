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
    env, fs, iter,
    num::{NonZeroU64, NonZeroUsize},
    path::{Path, PathBuf},
};

use anyhow::{Context, ensure};
use clap::builder::{PossibleValue, PossibleValuesParser};
use jetline_testkit::{installation::Installation, process::prefer_programs_in, programs};

use crate::{generate::Size, install, signals::Interrupt};
use report::{Outcome, Run};

/// Its name, what it measures, and how.
type Benchmark = (&'static str, &'static str, fn(&Bench) -> Outcome);

const BENCHMARKS: [Benchmark; 16] = [
    ("load", "New data into an empty database", cases::load),
    ("reload", "The same files again, and the same content under new keys", cases::reload),
    ("next-day", "The next day's files, in which 1 % of the records has changed", cases::next_day),
    (
        "large-object",
        "One object of `--gib`, and the same lines as four objects",
        cases::large_object,
    ),
    ("small-objects", "Objects of 100 lines", cases::small_objects),
    ("embedded", "`jetline --exit` on SQLite", cases::embedded),
    ("read", "GET by id, and how old the answers may be while rows are updated", read::run),
    ("dedup-memory", "What a record costs in Redis", cases::dedup_memory),
    ("scaling", "1, 2, 4 and 8 writers", cases::scaling),
    ("documents", "Every field but the key kept as JSON", cases::documents),
    ("csv", "The same records as CSV", cases::csv),
    ("outbox", "A destination for the changes, without a courier", cases::outbox),
    ("deliver", "Deliveries to an endpoint that answers at once", cases::deliver),
    ("intake", "Records that are posted, one in each request", intake::run),
    (
        "listing",
        "A listing of a bucket whose objects are all known; `--lines` is their number",
        listing::run,
    ),
    ("peers", "What a user would pick instead", peers::run),
];

/// Stands for every one of them.
const ALL: &str = "all";

/// The servers that are installed in the target directory.
const CURRENT: &str = "current";

/// Measure speed and memory on real servers.
///
/// Builds the services, makes the data once, starts fresh servers for every run and ends them. For Linux. Results are
/// printed as Markdown and written as JSON to `target/bench`.
#[derive(clap::Args)]
pub(crate) struct Arguments {
    /// What to measure; several are separated by commas.
    #[arg(value_parser = names(), value_delimiter = ',', default_value = "load")]
    benchmarks: Vec<String>,
    #[command(flatten)]
    size: Size,
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
    #[arg(long, default_value = "installed", value_parser = ["installed", CURRENT])]
    servers: String,
    /// Delays each flush of PostgreSQL's log by so many milliseconds, as on a slow disk.
    #[arg(long, default_value_t = 0, value_parser = clap::value_parser!(u16).range(..=100))]
    flush_delay: u16,
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

fn names() -> PossibleValuesParser {
    let all = PossibleValue::new(ALL).help("All of the following");
    let each = BENCHMARKS.map(|(name, what, _)| PossibleValue::new(name).help(what));
    iter::once(all).chain(each).into()
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    install::missing_servers()?;
    if arguments.servers == CURRENT {
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
    let benchmarks = chosen(&arguments.benchmarks);
    if let Some(other) = &arguments.against {
        return against::compare(&bench, other, &benchmarks, arguments.turns.get());
    }
    let results = programs::target_directory()?.join("bench");
    fs::create_dir_all(&results)?;
    for (name, _, measure) in benchmarks {
        println!("benchmark {name}");
        let (what, cases) = measure(&bench)?;
        let report = report::report(what, &cases)?;
        println!("\n{}", report::markdown(&report));
        if !arguments.cases.is_empty() {
            continue;
        }
        let file = results.join(format!("{name}.json"));
        fs::write(&file, serde_json::to_string_pretty(&report)?)?;
        println!("as JSON: {}", file.display());
    }
    Ok(())
}

fn chosen(names: &[String]) -> Vec<Benchmark> {
    if names.iter().any(|name| name == ALL) {
        return BENCHMARKS.to_vec();
    }
    let find = |chosen: &String| BENCHMARKS.into_iter().find(|(name, ..)| name == chosen);
    names.iter().filter_map(find).collect()
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

    /// Measures all cases in turns: a machine whose speed varies is the same for all of them.
    fn measure(&self, what: String, mut cases: Vec<Case>) -> Outcome {
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
        Ok((what, names.zip(measured).collect()))
    }
}

/// `1 writer`, `2 writers`.
fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
