//! `small-objects`: many objects of 100 lines.

use super::{
    Bench,
    data::{Data, Kind},
    load,
    report::Report,
};

const LINES_PER_OBJECT: u64 = 100;

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    let data = Data::get(Kind {
        files: bench.arguments.lines.get().div_ceil(LINES_PER_OBJECT),
        ..bench.kind()
    })?;
    let what = format!("{}, into an empty table", data.describe());
    load::compare(bench, what, &[&data])
}
