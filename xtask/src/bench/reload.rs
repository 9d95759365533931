//! `reload`: files that are loaded already, again, and their content under new keys.

use super::{
    Bench, postgres,
    report::{Report, Run},
    services::{self, Job},
    turns::{Side, in_turns},
    yardstick,
};

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    let data = bench.data()?;
    let job = |prefix, writers| Job {
        data: &data,
        prefix,
        writers,
    };
    let writers = bench.arguments.writers.get();
    // Without a writer: there is nothing to write, and if there was, the fetcher would wait for it in vain.
    let same_files = || {
        let run = services::load(bench, &[job("files", writers), job("files", 0)])?;
        Ok(Run { work: None, ..run })
    };
    let new_keys = || services::load(bench, &[job("files", writers), job("copies", writers)]);
    let by_hand = || yardstick::load(&[&data, &data], &bench.interrupt);
    let sides = vec![
        Side::jetline("the same files", same_files).beside("psql"),
        Side::jetline("new keys", new_keys).beside("psql"),
        Side::yardstick("psql", by_hand),
    ];
    Ok(Report {
        unit: "line",
        conditions: vec![
            format!(
                "{}, after they were loaded and the tables vacuumed",
                data.describe()
            ),
            "The same files: the fetcher's job again; seconds are from its start to its end"
                .to_owned(),
            "New keys: the same content as other objects".to_owned(),
            bench.services(),
            yardstick::DESCRIPTION.to_owned(),
            postgres::describe(),
            bench.turns(),
        ],
        cases: in_turns(bench, sides)?,
    })
}
