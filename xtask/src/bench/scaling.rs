//! `scaling`: the same load with more and more writers.

use super::{
    Bench, postgres,
    report::Report,
    services::{self, Job},
    turns::{Side, in_turns},
};

const WRITERS: [usize; 4] = [1, 2, 4, 8];

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    let data = bench.data()?;
    let side = |writers| {
        let job = Job {
            data: &data,
            prefix: "files",
            writers,
        };
        let side = Side::jetline(name(writers), move || services::load(bench, &[job]));
        if writers == WRITERS[0] {
            return side;
        }
        side.beside(name(WRITERS[0]))
    };
    Ok(Report {
        unit: "line",
        conditions: vec![
            format!("{}, into an empty table", data.describe()),
            "1 fetcher, NATS, Redis and S3 over HTTP; with the start of the services".to_owned(),
            postgres::describe(),
            bench.turns(),
        ],
        cases: in_turns(bench, WRITERS.into_iter().map(side).collect())?,
    })
}

fn name(writers: usize) -> String {
    match writers {
        1 => "1 writer".to_owned(),
        _ => format!("{writers} writers"),
    }
}
