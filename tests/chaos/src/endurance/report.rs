//! The report of a run, with its limits, as JSON and Markdown.

use std::{
    fs,
    io::{self, Write},
    path::Path,
    process::ExitCode,
};

use anyhow::Context;
use jetline_oracle::Expected;
use serde::Serialize;

use super::{ledger::LedgerSample, sample::as_f64};
use crate::table::table;

/// A measured value and its maximum.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Limit {
    pub(super) what: String,
    pub(super) measured: f64,
    pub(super) max: f64,
    pub(super) unit: &'static str,
    pub(super) holds: bool,
}

impl Limit {
    /// Met if `measured` is at most `max`.
    pub(super) fn at_most(what: &str, measured: f64, max: f64, unit: &'static str) -> Self {
        Self { what: what.to_owned(), measured, max, unit, holds: measured <= max }
    }

    /// Met if the count is zero.
    pub(super) fn none(what: &str, measured: u64) -> Self {
        Self::at_most(what, as_f64(measured), 0.0, "")
    }
}

/// What was loaded, and the result.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    /// The objects that were put, and the expected result of their lines.
    pub(super) objects: u64,
    pub(super) lines: i64,
    pub(super) rows: u64,
    pub(super) rejects: u64,
    /// The final state of the ledger.
    pub(super) ledger: LedgerSample,
    /// The differences between the database and the fold.
    pub(super) differences: Vec<String>,
}

impl Outcome {
    pub(super) fn new(expected: &Expected, ledger: LedgerSample, differences: Vec<String>) -> Self {
        Self {
            objects: expected.lines.len() as u64,
            lines: expected.total(),
            rows: expected.rows.len() as u64,
            rejects: expected.rejects.len() as u64,
            ledger,
            differences,
        }
    }

    /// Everything is done, nothing is dead, and every row, rejected line and count is correct.
    pub(super) fn limits(&self) -> Vec<Limit> {
        let undone = self.objects - self.ledger.done.cast_unsigned().min(self.objects);
        vec![
            Limit::none("objects that are not done", undone),
            Limit::none("objects that failed", self.ledger.failed.cast_unsigned()),
            Limit::none("dead chunks", self.ledger.dead.cast_unsigned()),
            Limit::none("remaining rows of chunks", self.ledger.chunks.cast_unsigned()),
            Limit::none("differences from the fold", self.differences.len() as u64),
        ]
    }

    pub(super) fn sentence(&self) -> String {
        format!(
            "{} objects with {} lines, {} of them bad; {} rows.",
            self.objects, self.lines, self.rejects, self.rows
        )
    }
}

/// Writes the report to a file and its Markdown to standard output; the status tells whether all limits are met.
pub(super) fn finish(
    report: &impl Serialize,
    markdown: &str,
    limits: &[Limit],
    file: &Path,
) -> anyhow::Result<ExitCode> {
    let json = serde_json::to_string_pretty(report)?;
    fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    let mut output = io::stdout().lock();
    writeln!(output, "{markdown}\n{}", limits_table(limits))?;
    Ok(if limits.iter().all(|limit| limit.holds) { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn limits_table(limits: &[Limit]) -> String {
    let row = |limit: &Limit| {
        let number = |number| format!("{} {}", shown(number), limit.unit).trim_end().to_owned();
        vec![
            limit.what.clone(),
            number(limit.measured),
            number(limit.max),
            if limit.holds { "yes" } else { "**NO**" }.to_owned(),
        ]
    };
    table(&["limit", "measured", "at most", "holds"], limits.iter().map(row))
}

/// With two decimals, unless the number is an integer.
pub(super) fn shown(number: f64) -> String {
    if number.fract() == 0.0 { format!("{number:.0}") } else { format!("{number:.2}") }
}

/// Bytes in MiB.
pub(super) fn mebibytes(bytes: f64) -> f64 {
    bytes / f64::from(1 << 20)
}

/// Bytes in MiB, as a cell of a table.
pub(super) fn memory(bytes: f64) -> String {
    format!("{:.1}", mebibytes(bytes))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limit_is_inclusive() {
        assert!(Limit::at_most("a", 2.0, 2.0, "s").holds);
        assert!(!Limit::at_most("a", 2.1, 2.0, "s").holds);
        assert!(!Limit::at_most("a", f64::NAN, 2.0, "s").holds);
        assert!(Limit::none("a", 0).holds && !Limit::none("a", 1).holds);
    }

    #[test]
    fn exceeded_limit_is_marked_and_fails_the_run() {
        let limits = [Limit::at_most("growth", 70.25, 64.0, "MiB")];
        assert_eq!(
            limits_table(&limits),
            "| limit | measured | at most | holds |\n| --- | --- | --- | --- |\n\
             | growth | 70.25 MiB | 64 MiB | **NO** |\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        let finished = finish(&limits, "", &limits, &file).unwrap();
        assert_eq!(format!("{finished:?}"), format!("{:?}", ExitCode::FAILURE));
        assert!(fs::read_to_string(&file).unwrap().contains("70.25"));
    }
}
