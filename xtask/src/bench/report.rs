//! The result of a benchmark, as JSON and as Markdown.

use std::{
    collections::BTreeMap, num::NonZeroUsize, process::Command, thread::available_parallelism,
    time::Duration,
};

use anyhow::ensure;
use comfy_table::{Table, presets::ASCII_MARKDOWN};
use jetline_testkit::{process::program, usage::Usage};
use procfs::{CpuInfo, Current};
use serde_json::{Map, Value, json};

use crate::command::output;

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

impl Run {
    /// Its figures, each under the name that it has in the results.
    fn json(&self) -> Value {
        let seconds = self.time.as_secs_f64();
        // CPU time for each line or request.
        let micros = |cpu: Duration| Some(cpu.as_secs_f64() * 1e6 / number(self.work?));
        let process = |usage: &Usage| {
            json!({
                "cpu_seconds": usage.cpu.as_secs_f64(),
                "cpu_micros_each": micros(usage.cpu),
                "peak_mb": megabytes(usage.peak_bytes),
            })
        };
        let processes = self.processes.iter();
        let processes = processes.map(|(name, usage)| (name.clone(), process(usage)));
        json!({
            "seconds": seconds,
            "rate": self.work.map(|work| number(work) / seconds),
            "cpu_micros_each": micros(self.processes.values().map(|usage| usage.cpu).sum()),
            "figures": self.figures,
            "processes": processes.collect::<Map<_, _>>(),
        })
    }
}

/// The runs of each case, by its name.
pub(super) type Measured = Vec<(String, Vec<Run>)>;

/// What was measured, and what came out.
pub(super) type Outcome = anyhow::Result<(String, Measured)>;

/// With what it was measured on: figures without it cannot be compared with others.
pub(super) fn report(what: String, cases: &Measured) -> anyhow::Result<Value> {
    let mut conditions = vec![what];
    for name in ["postgres", "nats-server", "redis-server"] {
        conditions.push(output(Command::new(program(name)?).arg("--version"))?);
    }
    let cpu = CpuInfo::current()?;
    let model = cpu.model_name(0).unwrap_or("an unknown model");
    conditions.push(format!("{} cores of {model}", cores()));
    // There is none outside a clone, as in an unpacked archive.
    if let Ok(commit) = output(Command::new("git").args(["describe", "--always", "--dirty"])) {
        conditions.push(format!("commit {commit}"));
    }
    let cases = cases.iter().map(|(name, runs)| {
        let mut case = medians(runs);
        case["name"] = name.as_str().into();
        case
    });
    Ok(json!({ "conditions": conditions, "cases": cases.collect::<Value>() }))
}

/// The median, the lowest and the highest of each figure of some runs.
pub(super) fn medians(runs: &[Run]) -> Value {
    combined(&runs.iter().map(Run::json).collect::<Vec<_>>())
}

fn combined(runs: &[Value]) -> Value {
    if let Some(Value::Object(figures)) = runs.first() {
        let of = |name: &str| runs.iter().map(|run| run[name].clone()).collect::<Vec<_>>();
        let figures = figures.keys().map(|name| (name.clone(), combined(&of(name))));
        return figures.collect();
    }
    let mut figures: Vec<f64> = runs.iter().filter_map(Value::as_f64).collect();
    figures.sort_by(f64::total_cmp);
    let [Some(min), Some(max)] = [figures.first(), figures.last()] else {
        return Value::Null;
    };
    let middle = [figures[(figures.len() - 1) / 2], figures[figures.len() / 2]];
    json!({ "median": f64::midpoint(middle[0], middle[1]), "min": min, "max": max })
}

/// The figures of a case, and in what they are.
pub(super) fn rows(case: &Value, name: &str) -> Vec<(String, [f64; 3])> {
    let figure = ["median", "min", "max"].map(|field| case[field].as_f64());
    if let [Some(median), Some(min), Some(max)] = figure {
        return vec![(name.trim().to_owned(), [median, min, max])];
    }
    let parts = case.as_object().into_iter().flatten();
    let parts = parts.flat_map(|(part, value)| match part.as_str() {
        "figures" | "processes" => rows(value, name),
        _ => rows(value, &format!("{name} {part}")),
    });
    parts.collect()
}

/// A report for people.
pub(super) fn markdown(report: &Value) -> String {
    let mut table = table(&["", "", "median", "lowest", "highest"]);
    for case in report["cases"].as_array().into_iter().flatten() {
        let name = case["name"].as_str().unwrap_or_default();
        for (figure, spread) in rows(case, "") {
            let [median, min, max] = spread.map(short);
            table.add_row([name, &figure, &median, &min, &max]);
        }
    }
    let conditions = report["conditions"].as_array().into_iter().flatten();
    let conditions = conditions.filter_map(Value::as_str).map(|text| format!("- {text}\n"));
    format!("{}\n{table}", conditions.collect::<String>())
}

/// A table of Markdown.
pub(super) fn table(heading: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN).set_header(heading);
    table
}

/// Three digits or more, unless it is a whole number.
pub(super) fn short(figure: f64) -> String {
    let decimals = match figure.abs() {
        f if f >= 99.95 || f.fract() == 0.0 => 0,
        f if f >= 9.995 => 1,
        _ => 2,
    };
    format!("{figure:.decimals$}")
}

/// Millions of bytes.
pub(super) fn megabytes(bytes: u64) -> f64 {
    number(bytes) / 1e6
}

/// What half of the values do not exceed, and 99 % of them.
pub(super) fn percentiles(mut values: Vec<f64>) -> anyhow::Result<[f64; 2]> {
    ensure!(!values.is_empty(), "there is nothing to take percentiles of");
    values.sort_by(f64::total_cmp);
    Ok([50, 99].map(|percent| values[values.len() * percent / 100]))
}

/// For rates and averages.
#[expect(
    clippy::cast_precision_loss,
    reason = "no benchmark counts as many as 2^52 lines or bytes"
)]
pub(super) fn number(count: u64) -> f64 {
    count as f64
}

/// Cores of this machine.
pub(super) fn cores() -> usize {
    available_parallelism().map_or(1, NonZeroUsize::get)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn case_holds_medians_and_what_each_line_cost() {
        let cpu = Duration::from_secs(2);
        let usage = Usage { cpu, peak_bytes: 64_000_000, ..Usage::default() };
        let run = |seconds| Run {
            time: Duration::from_secs(seconds),
            work: Some(1000),
            figures: [("WAL, MB", number(seconds))].into(),
            processes: ["fetcher", "writer"].map(|name| (name.to_owned(), usage)).into(),
        };
        let case = medians(&[2, 1, 4, 2].map(run));
        assert_eq!(case["rate"]["median"], 500.0);
        assert_eq!(case["cpu_micros_each"]["median"], 4000.0);
        assert_eq!(case["figures"]["WAL, MB"]["max"], 4.0);
        assert_eq!(case["processes"]["writer"]["cpu_micros_each"]["median"], 2000.0);
        let names: Vec<_> = rows(&case, "").into_iter().map(|(name, _)| name).collect();
        assert!(names.contains(&"WAL, MB".to_owned()), "{names:?}");
        assert!(names.contains(&"writer peak_mb".to_owned()), "{names:?}");
        let nothing = Run { work: None, ..run(1) };
        assert_eq!(medians(&[nothing])["rate"], Value::Null);
    }
}
