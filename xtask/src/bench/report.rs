//! The result of a benchmark, and what it says as JSON.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::{figures::Spread, processes::Usage};

/// One measurement.
pub(super) struct Run {
    /// From the start of the work until it is committed.
    pub(super) time: Duration,
    /// How many lines or requests that were; none where nothing was to be done.
    pub(super) work: Option<u64>,
    /// Whatever else was measured, by what it is and in which unit.
    pub(super) figures: BTreeMap<&'static str, f64>,
    pub(super) processes: BTreeMap<String, Usage>,
}

/// The same thing, measured several times.
pub(super) struct Case {
    pub(super) name: String,
    /// The case that did the same work another way, in the same run.
    pub(super) beside: Option<String>,
    pub(super) runs: Vec<Run>,
}

/// A benchmark's result.
pub(super) struct Report {
    /// What work is counted in: `line`, `request`.
    pub(super) unit: &'static str,
    /// What was done, on what: one sentence each.
    pub(super) conditions: Vec<String>,
    pub(super) cases: Vec<Case>,
}

impl Run {
    /// Work per second.
    fn rate(&self) -> Option<f64> {
        Some(number(self.work?) / self.time.as_secs_f64())
    }

    /// How many times as fast it was as another run.
    fn times_as_fast_as(&self, other: &Self) -> f64 {
        match (self.rate(), other.rate()) {
            (Some(ours), Some(theirs)) => ours / theirs,
            _ => other.time.as_secs_f64() / self.time.as_secs_f64(),
        }
    }
}

impl Report {
    /// Everything about it, with the machine that it was measured on.
    pub(super) fn json(&self, name: &str, environment: &Value) -> Value {
        let cases: Vec<Value> = self.cases.iter().map(|case| self.case(case)).collect();
        json!({
            "benchmark": name,
            "unit": self.unit,
            "conditions": self.conditions,
            "environment": environment,
            "cases": cases,
        })
    }

    fn case(&self, case: &Case) -> Value {
        let runs = &case.runs;
        let mut json = json!({
            "name": case.name,
            "runs": runs.len(),
            "seconds": spread(runs, |run| Some(run.time.as_secs_f64())),
            "rate": spread(runs, Run::rate),
            "figures": object(runs, |run| run.figures.keys().copied(), |name| {
                spread(runs, |run| run.figures.get(name).copied())
            }),
            "processes": object(runs, |run| run.processes.keys().map(String::as_str), |name| {
                process(runs, name)
            }),
        });
        if let Some(yardstick) = self.yardstick(case) {
            json["beside"] = json!({
                "case": yardstick.name,
                "times_as_fast": times_as_fast(case, yardstick).map(Spread::json),
            });
        }
        json
    }

    fn yardstick(&self, case: &Case) -> Option<&Case> {
        let name = case.beside.as_ref()?;
        self.cases.iter().find(|case| &case.name == name)
    }
}

/// Run by run: a machine that drifts is the same for both.
fn times_as_fast(case: &Case, yardstick: &Case) -> Option<Spread> {
    let pairs = case.runs.iter().zip(&yardstick.runs);
    Spread::of(pairs.map(|(ours, theirs)| ours.times_as_fast_as(theirs)))
}

fn object<'a, N: Iterator<Item = &'a str>>(
    runs: &'a [Run],
    names: impl Fn(&'a Run) -> N,
    value: impl Fn(&str) -> Value,
) -> Map<String, Value> {
    runs.iter()
        .flat_map(names)
        .map(|name| (name.to_owned(), value(name)))
        .collect()
}

fn process(runs: &[Run], name: &str) -> Value {
    let used = |run: &Run| run.processes.get(name).copied();
    let micros = |run: &Run| Some(used(run)?.cpu.as_secs_f64() * 1e6 / number(run.work?));
    json!({
        "cpu_seconds": spread(runs, |run| Some(used(run)?.cpu.as_secs_f64())),
        // The same as CPU seconds per million.
        "cpu_micros_each": spread(runs, micros),
        "peak_mb": spread(runs, |run| Some(megabytes(used(run)?.peak_bytes))),
    })
}

/// Null when no run has the figure.
fn spread(runs: &[Run], figure: impl Fn(&Run) -> Option<f64>) -> Value {
    Spread::of(runs.iter().filter_map(figure)).map_or(Value::Null, Spread::json)
}

/// The figure that both sides of a load have.
pub(super) const WAL: &str = "WAL, MB";

/// Millions of bytes.
pub(super) fn megabytes(bytes: u64) -> f64 {
    number(bytes) / 1e6
}

/// For rates and averages.
#[expect(
    clippy::cast_precision_loss,
    reason = "no benchmark counts as many as 2^52 lines or bytes"
)]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// Where the JSON of a benchmark is written to and read from.
pub(super) fn file(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.json"))
}

/// Writes the JSON of a benchmark.
pub(super) fn write(directory: &Path, name: &str, report: &Value) -> anyhow::Result<PathBuf> {
    let file = file(directory, name);
    fs::create_dir_all(directory)
        .and_then(|()| fs::write(&file, format!("{report:#}\n")))
        .with_context(|| format!("cannot write {}", file.display()))?;
    Ok(file)
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn run(seconds: u64) -> Run {
        let usage = Usage {
            cpu: Duration::from_secs(2),
            peak_bytes: 64_000_000,
        };
        Run {
            time: Duration::from_secs(seconds),
            work: Some(1000),
            figures: [("WAL, MB", number(seconds))].into(),
            processes: [("writer".to_owned(), usage)].into(),
        }
    }

    fn case(name: &str, seconds: [u64; 3]) -> Case {
        Case {
            name: name.to_owned(),
            beside: None,
            runs: seconds.into_iter().map(run).collect(),
        }
    }

    /// A report on paper.
    pub(in super::super) fn example() -> Value {
        let ours = Case {
            beside: Some("psql".to_owned()),
            ..case("jetline", [2, 1, 4])
        };
        let report = Report {
            unit: "line",
            conditions: vec!["on paper".to_owned()],
            cases: vec![ours, case("psql", [4, 4, 4])],
        };
        report.json("load", &json!({ "commit": "abc" }))
    }

    #[test]
    fn case_is_compared_with_its_yardstick_run_by_run() {
        let report = example();
        let [ours, theirs] = [0, 1].map(|at| &report["cases"][at]);
        assert_eq!(ours["rate"]["median"], 500.0);
        assert_eq!(ours["beside"]["times_as_fast"]["median"], 2.0);
        assert_eq!(ours["beside"]["times_as_fast"]["max"], 4.0);
        assert_eq!(ours["figures"]["WAL, MB"]["max"], 4.0);
        assert!(theirs.get("beside").is_none());
        let writer = &theirs["processes"]["writer"];
        assert_eq!(writer["peak_mb"]["max"], 64.0);
        assert_eq!(writer["cpu_micros_each"]["median"], 2000.0);
    }

    #[test]
    fn without_work_times_are_compared() {
        let nothing = |seconds| Run {
            work: None,
            ..run(seconds)
        };
        assert!((nothing(1).times_as_fast_as(&run(8)) - 8.0).abs() < 1e-9);
        assert_eq!(nothing(1).rate(), None);
    }

    #[test]
    fn json_is_found_where_it_was_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = write(folder.path(), "load", &example()).unwrap();
        assert_eq!(path, file(folder.path(), "load"));
        let text = fs::read_to_string(path).unwrap();
        assert_eq!(serde_json::from_str::<Value>(&text).unwrap(), example());
    }
}
