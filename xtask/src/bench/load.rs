//! `load`: new data into an empty database.

use super::{
    Bench,
    data::Data,
    postgres,
    report::Report,
    services::{self, Job},
    turns::{Side, in_turns},
    yardstick,
};

/// What stands before the keys of one day after the other.
const DAYS: [&str; 2] = ["first-day", "second-day"];

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    let data = bench.data()?;
    let what = format!("{}, into an empty table", data.describe());
    compare(bench, what, &[&data])
}

/// Loads the files of a day, or of two, by both sides; those of the last day are measured.
pub(super) fn compare(bench: &Bench, what: String, days: &[&Data]) -> anyhow::Result<Report> {
    let job = |(data, prefix)| Job {
        data,
        prefix,
        writers: bench.arguments.writers.get(),
    };
    let jobs: Vec<Job> = days.iter().copied().zip(DAYS).map(job).collect();
    let sides = vec![
        Side::jetline("jetline", || services::load(bench, &jobs)).beside("psql"),
        Side::yardstick("psql", || yardstick::load(days, &bench.interrupt)),
    ];
    Ok(Report {
        unit: "line",
        conditions: vec![
            what,
            bench.services(),
            yardstick::DESCRIPTION.to_owned(),
            postgres::describe(),
            bench.turns(),
        ],
        cases: in_turns(bench, sides)?,
    })
}
