//! Medians with their extremes, as a table and as JSON.

use std::{
    collections::BTreeMap,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Context;
use serde_json::{Map, Value, json};

use super::processes::Usage;

/// One measurement.
pub(super) struct Run {
    /// From the start of the work until it is committed.
    pub(super) time: Duration,
    pub(super) processes: BTreeMap<String, Usage>,
}

/// A benchmark's result: sides that did the same work, the first compared with the others.
pub(super) struct Report {
    pub(super) name: &'static str,
    /// What was done, on what: one line each.
    pub(super) conditions: Vec<String>,
    pub(super) lines: u64,
    pub(super) sides: Vec<(&'static str, Vec<Run>)>,
}

/// The middle of several figures, and the range that they are in.
#[derive(Clone, Copy)]
struct Spread {
    median: f64,
    min: f64,
    max: f64,
}

impl Spread {
    fn of(figures: impl Iterator<Item = f64>) -> Self {
        let mut figures: Vec<f64> = figures.collect();
        figures.sort_by(f64::total_cmp);
        let at = |index: usize| figures.get(index).copied().unwrap_or(f64::NAN);
        let count = figures.len();
        Self {
            median: f64::midpoint(at(count.saturating_sub(1) / 2), at(count / 2)),
            min: at(0),
            max: at(count.saturating_sub(1)),
        }
    }

    fn json(self) -> Value {
        json!({ "median": self.median, "min": self.min, "max": self.max })
    }
}

impl Report {
    fn rate(&self, runs: &[Run]) -> Spread {
        Spread::of(
            runs.iter()
                .map(|run| self.lines_as_number() / run.time.as_secs_f64()),
        )
    }

    #[expect(clippy::cast_precision_loss, reason = "far below 2^52 lines")]
    fn lines_as_number(&self) -> f64 {
        self.lines as f64
    }

    /// How many times faster the first side was, run by run, than another.
    fn ratio(&self, other: &[Run]) -> Spread {
        let first = self.sides.first().map_or(&[][..], |(_, runs)| runs);
        let pairs = first.iter().zip(other);
        Spread::of(pairs.map(|(ours, theirs)| theirs.time.as_secs_f64() / ours.time.as_secs_f64()))
    }

    /// Writes it into the directory, as `NAME.json`.
    pub(super) fn write_json(&self, directory: &Path) -> anyhow::Result<PathBuf> {
        let file = directory.join(format!("{}.json", self.name));
        fs::create_dir_all(directory)
            .and_then(|()| fs::write(&file, format!("{:#}\n", self.json())))
            .with_context(|| format!("cannot write {}", file.display()))?;
        Ok(file)
    }

    fn json(&self) -> Value {
        let sides: Map<String, Value> = self
            .sides
            .iter()
            .map(|(name, runs)| ((*name).to_owned(), self.side_json(runs)))
            .collect();
        let mut report = json!({
            "benchmark": self.name,
            "conditions": self.conditions,
            "lines": self.lines,
            "sides": sides,
        });
        for (name, runs) in self.sides.iter().skip(1) {
            report["times_as_fast_as"][*name] = self.ratio(runs).json();
        }
        report
    }

    fn side_json(&self, runs: &[Run]) -> Value {
        let processes: Map<String, Value> = names(runs)
            .map(|name| {
                let figures = json!({
                    "cpu_seconds": cpu(runs, name).json(),
                    "peak_mib": peak(runs, name).json(),
                });
                (name.to_owned(), figures)
            })
            .collect();
        json!({
            "runs": runs.len(),
            "seconds": Spread::of(runs.iter().map(|run| run.time.as_secs_f64())).json(),
            "lines_per_second": self.rate(runs).json(),
            "processes": processes,
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "benchmark {}", self.name)?;
        for condition in &self.conditions {
            writeln!(f, "  {condition}")?;
        }
        writeln!(
            f,
            "\n{:<24}{:>12}{:>12}{:>12}",
            "lines/s", "median", "min", "max"
        )?;
        for (name, runs) in &self.sides {
            let Spread { median, min, max } = self.rate(runs);
            writeln!(f, "{name:<24}{median:>12.0}{min:>12.0}{max:>12.0}")?;
        }
        for (name, runs) in self.sides.iter().skip(1) {
            let Spread { median, min, max } = self.ratio(runs);
            let label = format!("times as fast as {name}");
            writeln!(f, "{label:<24}{median:>12.2}{min:>12.2}{max:>12.2}")?;
        }
        for (name, runs) in &self.sides {
            self.write_processes(f, name, runs)?;
        }
        Ok(())
    }
}

impl Report {
    fn write_processes(&self, f: &mut fmt::Formatter<'_>, side: &str, runs: &[Run]) -> fmt::Result {
        writeln!(
            f,
            "\n{side:<24}{:>12}{:>12}{:>12}",
            "CPU s", "µs a line", "peak MiB"
        )?;
        let mut sum = 0.0;
        for name in names(runs) {
            let (cpu, peak) = (cpu(runs, name).median, peak(runs, name).max);
            let each = cpu * 1e6 / self.lines_as_number();
            writeln!(f, "  {name:<22}{cpu:>12.2}{each:>12.2}{peak:>12.0}")?;
            sum += cpu;
        }
        let each = sum * 1e6 / self.lines_as_number();
        writeln!(f, "  {:<22}{sum:>12.2}{each:>12.2}", "in all")
    }
}

fn names(runs: &[Run]) -> impl Iterator<Item = &str> {
    runs.first()
        .into_iter()
        .flat_map(|run| run.processes.keys().map(String::as_str))
}

fn cpu(runs: &[Run], name: &str) -> Spread {
    figures(runs, name, |usage| usage.cpu.as_secs_f64())
}

#[expect(
    clippy::cast_precision_loss,
    reason = "a process has less than 2^52 bytes"
)]
fn peak(runs: &[Run], name: &str) -> Spread {
    figures(runs, name, |usage| usage.peak_bytes as f64 / 1_048_576.0)
}

fn figures(runs: &[Run], name: &str, figure: fn(&Usage) -> f64) -> Spread {
    Spread::of(
        runs.iter()
            .filter_map(|run| run.processes.get(name))
            .map(figure),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(seconds: u64) -> Run {
        let usage = Usage {
            cpu: Duration::from_secs(2),
            peak_bytes: 64 << 20,
        };
        Run {
            time: Duration::from_secs(seconds),
            processes: [("writer".to_owned(), usage)].into(),
        }
    }

    fn report() -> Report {
        Report {
            name: "load",
            conditions: vec!["on paper".to_owned()],
            lines: 1000,
            sides: vec![
                ("jetline", vec![run(2), run(1), run(4)]),
                ("psql", vec![run(4), run(4), run(4)]),
            ],
        }
    }

    #[test]
    fn median_is_the_middle_of_any_number_of_figures() {
        let median = |figures: &[f64]| Spread::of(figures.iter().copied()).median;
        assert!((median(&[3.0, 1.0, 2.0]) - 2.0).abs() < 1e-9);
        assert!((median(&[4.0, 1.0]) - 2.5).abs() < 1e-9);
        assert!(median(&[]).is_nan());
    }

    #[test]
    fn report_compares_the_first_side_with_the_others_run_by_run() {
        let json = report().json();
        assert_eq!(
            json["sides"]["jetline"]["lines_per_second"]["median"],
            500.0
        );
        assert_eq!(json["times_as_fast_as"]["psql"]["median"], 2.0);
        assert_eq!(json["times_as_fast_as"]["psql"]["max"], 4.0);
        assert_eq!(
            json["sides"]["psql"]["processes"]["writer"]["peak_mib"]["max"],
            64.0
        );
    }

    #[test]
    fn table_shows_every_process() {
        let table = report().to_string();
        assert!(table.contains("times as fast as psql"), "{table}");
        assert_eq!(table.matches("  writer").count(), 2, "{table}");
    }
}
