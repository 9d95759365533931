//! What this project set out to reach, beside what was measured.

use std::collections::BTreeMap;

use serde_json::Value;

use super::tables::{array, short, table};

enum Limit {
    AtLeast(f64),
    AtMost(f64),
}

use Limit::{AtLeast, AtMost};

/// What is measured; the benchmark, its case, where the figure is in it; the limit.
type Target = (
    &'static str,
    &'static str,
    &'static str,
    &'static str,
    Limit,
);

const RATE: &str = "/rate/median";
const TIMES: &str = "/beside/times_as_fast/median";
const FETCHER: &str = "/processes/jetline-fetcher/peak_mb/max";
const WRITER: &str = "/processes/jetline-writer/peak_mb/max";
const ONE: &str = "one object";
const FAR: &str = "integer ids, each far from the next";

const TARGETS: &[Target] = &[
    (
        "first load, lines/s",
        "load",
        "jetline",
        RATE,
        AtLeast(125_000.0),
    ),
    (
        "first load, times as fast as psql",
        "load",
        "jetline",
        TIMES,
        AtLeast(1.54),
    ),
    (
        "the same files again, s",
        "reload",
        "the same files",
        "/seconds/median",
        AtMost(0.5),
    ),
    (
        "the same files again, lists",
        "reload",
        "the same files",
        "/figures/lists/max",
        AtMost(1.0),
    ),
    (
        "the same files again, GETs",
        "reload",
        "the same files",
        "/figures/GETs/max",
        AtMost(0.0),
    ),
    (
        "the same content under new keys, lines/s",
        "reload",
        "new keys",
        RATE,
        AtLeast(300_000.0),
    ),
    (
        "1 % changed, lines/s",
        "next-day",
        "jetline",
        RATE,
        AtLeast(280_000.0),
    ),
    (
        "1 % changed, WAL in MB",
        "next-day",
        "jetline",
        "/figures/WAL, MB/median",
        AtMost(30.0),
    ),
    (
        "one large object, times as fast as four",
        "large-object",
        ONE,
        TIMES,
        AtLeast(0.95),
    ),
    (
        "one large object, peak of the fetcher in MB",
        "large-object",
        ONE,
        FETCHER,
        AtMost(150.0),
    ),
    (
        "one large object, peak of a writer in MB",
        "large-object",
        ONE,
        WRITER,
        AtMost(150.0),
    ),
    (
        "objects of 100 lines, lines/s",
        "small-objects",
        "jetline",
        RATE,
        AtLeast(60_000.0),
    ),
    (
        "embedded, lines/s",
        "embedded",
        "jetline --exit",
        RATE,
        AtLeast(120_000.0),
    ),
    (
        "GET of any id, 64 clients, times as fast as pgbench",
        "read",
        "any id, 64 clients",
        TIMES,
        AtLeast(0.6),
    ),
    (
        "GET of any id, 64 clients, p99 in ms",
        "read",
        "any id, 64 clients",
        "/figures/p99, ms/median",
        AtMost(5.0),
    ),
    (
        "GET of hot ids, 64 clients, requests/s",
        "read",
        "hot ids, 64 clients",
        RATE,
        AtLeast(60_000.0),
    ),
    (
        "Redis, bytes a record, dense ids",
        "dedup-memory",
        "integer ids, dense",
        "/figures/bytes a record/median",
        AtMost(60.0),
    ),
    (
        "Redis, bytes a record, ids far apart",
        "dedup-memory",
        FAR,
        "/figures/bytes a record/median",
        AtMost(60.0),
    ),
    (
        "4 writers, times as fast as 1",
        "scaling",
        "4 writers",
        TIMES,
        AtLeast(1.4),
    ),
];

/// The table of all targets, from the results by benchmark.
pub(super) fn markdown(results: &BTreeMap<String, Value>) -> String {
    let row = |(what, benchmark, case, place, limit): &Target| {
        let measured = results
            .get(*benchmark)
            .and_then(|report| figure(report, case, place));
        vec![
            (*what).to_owned(),
            limit.text(),
            measured.map_or_else(|| "not measured".to_owned(), short),
            measured.map_or_else(String::new, |figure| limit.verdict(figure).to_owned()),
        ]
    };
    table(
        &["", "target", "measured", "reached"],
        TARGETS.iter().map(row).collect(),
    )
}

fn figure(report: &Value, case: &str, place: &str) -> Option<f64> {
    let mut cases = array(report, "cases").iter();
    cases
        .find(|found| found["name"] == case)?
        .pointer(place)?
        .as_f64()
}

impl Limit {
    fn text(&self) -> String {
        match self {
            AtLeast(limit) => format!("≥ {}", short(*limit)),
            AtMost(limit) => format!("≤ {}", short(*limit)),
        }
    }

    fn verdict(&self, figure: f64) -> &'static str {
        let reached = match self {
            AtLeast(limit) => figure >= *limit,
            AtMost(limit) => figure <= *limit,
        };
        if reached { "yes" } else { "no" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::{Benchmark, report::tests::example};

    #[test]
    fn figures_are_judged_by_their_limits() {
        let text = markdown(&[("load".to_owned(), example())].into());
        let row = |start: &str| {
            let line = text.lines().find(|line| line.contains(start)).unwrap();
            let cells = line.split('|').map(str::trim).skip(2).take(3);
            cells.map(str::to_owned).collect::<Vec<_>>()
        };
        assert_eq!(row("first load, lines/s"), ["≥ 125,000", "500", "no"]);
        assert_eq!(row("first load, times"), ["≥ 1.54", "2", "yes"]);
        assert_eq!(row("embedded"), ["≥ 120,000", "not measured", ""]);
    }

    #[test]
    fn every_target_is_of_a_benchmark() {
        let names: Vec<String> = Benchmark::measured().map(Benchmark::name).collect();
        for (what, benchmark, ..) in TARGETS {
            assert!(names.iter().any(|name| name == benchmark), "{what}");
        }
        for name in names {
            assert!(
                TARGETS.iter().any(|(_, benchmark, ..)| *benchmark == name),
                "{name}"
            );
        }
    }
}
