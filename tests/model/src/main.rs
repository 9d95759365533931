//! `jetline-model`: checks the model.
#![expect(clippy::print_stdout, reason = "a command prints its result")]

use std::{fs, io, process::ExitCode, thread, time::Instant};

use clap::{Parser, Subcommand};
use jetline_model::{
    Rule, Rules, Scenario, System,
    ablation::{self, Counterexample, first_wrong},
    scenarios, schedules,
};

const PAGE: &str = "docs/correctness.md";

/// Checks that the result of a load does not depend on the order of events.
#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Visits all states of all scenarios, and prints how many there are.
    Check {
        /// Only the scenarios with these names.
        names: Vec<String>,
        /// Only the scenarios that take long.
        #[arg(long)]
        large: bool,
    },
    /// Writes the tables of docs/correctness.md: the states of the scenarios, and for each rule a shortest run that ends
    /// wrong without it.
    Document,
    /// Runs random schedules of larger sizes.
    Random {
        /// How many.
        #[arg(long, default_value_t = 1_000_000)]
        runs: u64,
        /// The first seed. A seed repeats its schedule exactly.
        #[arg(long, default_value_t = 0)]
        seed: u64,
        /// Without this rule.
        #[arg(long, value_name = "RULE", value_parser = rule)]
        without: Option<Rule>,
    },
}

fn main() -> ExitCode {
    let is_right = match Args::parse().command {
        Command::Check { names, large } => {
            let mut scenarios = if large { scenarios::large() } else { scenarios::all() };
            scenarios.retain(|one| names.is_empty() || names.iter().any(|name| name == one.name));
            if scenarios.len() < names.len() {
                println!("some of these scenarios do not exist; without names, all are checked");
                return ExitCode::FAILURE;
            }
            check(scenarios).is_some()
        }
        Command::Document => document().inspect_err(|error| println!("{PAGE}: {error}")).is_ok(),
        Command::Random { runs, seed, without } => {
            let rules = without.map_or(Rules::default(), Rules::without);
            random(seed, runs, rules)
        }
    };
    if is_right { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The table of the scenarios; `None` if a state is wrong.
fn check(scenarios: Vec<Scenario>) -> Option<String> {
    let mut table =
        "| scenario | files | events | states | s |\n| --- | --- | --- | ---: | ---: |\n"
            .to_owned();
    println!("{}", table.trim_end());
    for scenario in scenarios {
        let started = Instant::now();
        let (files, events) = (scenario.files_text(), scenario.events_text());
        let name = scenario.name;
        let threads = thread::available_parallelism().map_or(1, usize::from);
        let (states, wrong) = first_wrong(System::new(scenario, Rules::default()), threads);
        let time = started.elapsed().as_secs_f64();
        let row = format!("| {name} | {files} | {events} | {states} | {time:.1} |");
        println!("{row}");
        if let Some(Counterexample { steps, why }) = wrong {
            println!("\n{why}:\n  {}", steps.join("\n  "));
            return None;
        }
        table = table + &row + "\n";
    }
    Some(table)
}

fn document() -> io::Result<()> {
    let states = check(scenarios::all()).ok_or_else(|| io::Error::other("a state is wrong"))?;
    let page = fs::read_to_string(PAGE)?;
    let page = replace(&page, "states", &states)?;
    fs::write(PAGE, replace(&page, "rules", &ablation::table())?)
}

/// Replaces what is between two comments of a page.
fn replace(page: &str, name: &str, with: &str) -> io::Result<String> {
    let begin = format!("<!-- {name} -->\n");
    let missing = || io::Error::other(format!("it lacks two comments <!-- {name} -->"));
    let (before, rest) = page.split_once(&begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(&begin).ok_or_else(missing)?;
    Ok(format!("{before}{begin}\n{with}\n{begin}{after}"))
}

fn rule(name: &str) -> Result<Rule, String> {
    let names = || Rule::ALL.map(|rule| format!("{rule:?}"));
    let found = Rule::ALL.into_iter().zip(names()).find(|(_, one)| one == name);
    found.map(|(rule, _)| rule).ok_or_else(|| format!("the rules are {}", names().join(", ")))
}

fn random(first: u64, runs: u64, rules: Rules) -> bool {
    let started = Instant::now();
    let wrong = schedules::run_all(first..first + runs, rules);
    if let Some((seed, wrong)) = &wrong {
        println!("seed {seed}: {}:\n  {}", wrong.why, wrong.steps.join("\n  "));
    } else {
        println!("{runs} schedules, 0 wrong, {:.0} s", started.elapsed().as_secs_f64());
    }
    wrong.is_none()
}
