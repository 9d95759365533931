//! `load`: new data into an empty database.

use super::{
    Arguments, Side,
    build::Binaries,
    cores,
    data::Data,
    postgres,
    report::{Report, Run},
    services, yardstick,
};
use crate::signals::Interrupt;

pub(super) fn run(arguments: &Arguments, interrupt: &Interrupt) -> anyhow::Result<Report> {
    let wanted = |side| arguments.only.is_none_or(|only| only == side);
    let data = Data::get(arguments)?;
    let binaries = wanted(Side::Jetline).then(Binaries::build).transpose()?;
    let (mut ours, mut by_hand) = (Vec::new(), Vec::new());
    for number in 1..=arguments.runs.get() {
        if let Some(binaries) = &binaries {
            let run = services::load(&data, binaries, arguments.writers.get(), interrupt)?;
            progress(number, "jetline", &data, &run);
            ours.push(run);
        }
        if wanted(Side::Psql) {
            let run = yardstick::load(&data, interrupt)?;
            progress(number, "psql", &data, &run);
            by_hand.push(run);
        }
    }
    let sides = [("jetline", ours), ("psql", by_hand)];
    Ok(Report {
        name: "load",
        conditions: conditions(arguments, &data),
        lines: data.lines,
        sides: sides
            .into_iter()
            .filter(|(_, runs)| !runs.is_empty())
            .collect(),
    })
}

fn progress(number: usize, side: &str, data: &Data, run: &Run) {
    let seconds = run.time.as_secs_f64();
    println!(
        "run {number}, {side}: {} lines in {seconds:.2} s",
        data.lines
    );
}

fn conditions(arguments: &Arguments, data: &Data) -> Vec<String> {
    let settings: Vec<String> = postgres::SETTINGS
        .iter()
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    vec![
        format!(
            "{} lines, {} ids, {} MB in {} files, seed {}, into an empty table",
            data.lines,
            data.ids,
            data.bytes / 1_000_000,
            arguments.files,
            arguments.seed
        ),
        format!("jetline: 1 fetcher, {} writers, NATS, Redis and S3 over HTTP; with the start of the services", arguments.writers),
        "psql: COPY of the lines into a temporary table, one INSERT … SELECT DISTINCT ON … ON CONFLICT DO UPDATE".to_owned(),
        format!("PostgreSQL, fresh for every run: {}", settings.join(", ")),
        format!("{} cores for everything together; {} runs of each, in turns", cores(), arguments.runs),
        "memory: peak resident set, of the largest where there are several; postgres: all its processes, shared memory once"
            .to_owned(),
    ]
}
