//! `next-day`: every record again under new keys, 1 % of them changed.

use super::{
    Bench,
    data::{Data, Kind},
    load,
    report::Report,
};

pub(super) fn run(bench: &Bench) -> anyhow::Result<Report> {
    let first = bench.data()?;
    let second = Data::get(Kind {
        changed: Some(1),
        ..bench.kind()
    })?;
    let what = format!(
        "{}, after the same records were loaded and the tables vacuumed; 1 % of them changed since",
        second.describe()
    );
    load::compare(bench, what, &[&first, &second])
}
