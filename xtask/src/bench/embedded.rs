//! `embedded`: one process, SQLite, no server: what a first `cargo run` does.

use std::{process::Command, time::Instant};

use anyhow::{Context, ensure};
use jetline_testkit::process::Process;

use super::{
    Bench,
    data::Data,
    processes::Processes,
    report::{Report, Run},
    turns::{Side, in_turns},
};

/// Addresses of servers: with one of them, its embedded part would not be used.
const SERVERS: [&str; 2] = ["NATS_URL", "REDIS_URL"];

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    let data = bench.data()?;
    let sides = vec![Side::jetline("jetline --exit", || load(bench, &data))];
    Ok(Report {
        unit: "line",
        conditions: vec![
            format!(
                "{}, from a directory into a new SQLite database",
                data.describe()
            ),
            "One process, from its start to its end".to_owned(),
            bench.turns(),
        ],
        cases: in_turns(bench, sides)?,
    })
}

fn load(bench: &Bench, data: &Data) -> anyhow::Result<Run> {
    let folder = tempfile::tempdir()?;
    let database = folder.path().join("jetline.db");
    let mut command = Command::new(bench.binaries()?.path("jetline")?);
    for variable in SERVERS {
        command.env_remove(variable);
    }
    command
        .arg("--exit")
        .env("SOURCE", &data.directory)
        .env("DATABASE_URL", format!("sqlite://{}", database.display()))
        .env("LISTEN", "127.0.0.1:0");

    let mut processes = Processes::new(&bench.interrupt);
    let begin = Instant::now();
    let mut jetline = Process::start(command, &folder.path().join("log"))?;
    processes.watch_new("jetline", jetline.id());
    processes.until_done("jetline", &mut jetline)?;
    let time = begin.elapsed();

    let output = jetline.output();
    let totals = totals(&output).with_context(|| format!("no totals: {output}"))?;
    ensure!(
        totals == (data.lines, data.ids),
        "not all is there: {output}"
    );
    Ok(Run {
        time,
        work: Some(data.lines),
        figures: [].into(),
        processes: processes.usage(),
    })
}

/// How many lines there were, and how many records they became, from the end of the summary.
fn totals(output: &str) -> Option<(u64, u64)> {
    let sums = output
        .lines()
        .find_map(|line| line.strip_prefix("in all"))?;
    let mut sums = sums.split_whitespace().map(str::parse);
    Some((sums.next()?.ok()?, sums.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn totals_stand_at_the_end_of_the_summary() {
        let summary = "\
object         state       lines   inserted    updated  unchanged
a.jsonl        done          600        500         50         50
in all                      1000        800        100        100
";
        assert_eq!(totals(summary), Some((1000, 800)));
        assert_eq!(totals("Nothing new"), None);
    }
}
