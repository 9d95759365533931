//! What a run measured: the numbers that had to hold, and its report as JSON and as Markdown.

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

/// A number that must not be above another.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Bound {
    pub(super) what: String,
    pub(super) measured: f64,
    pub(super) limit: f64,
    pub(super) unit: &'static str,
    pub(super) holds: bool,
}

impl Bound {
    /// Holds while `measured` is at most `limit`.
    pub(super) fn at_most(what: &str, measured: f64, limit: f64, unit: &'static str) -> Self {
        Self {
            what: what.to_owned(),
            measured,
            limit,
            unit,
            holds: measured <= limit,
        }
    }

    /// Holds while there is none of it.
    pub(super) fn none(what: &str, measured: u64) -> Self {
        Self::at_most(what, as_f64(measured), 0.0, "")
    }
}

/// What was loaded, and how it ended.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Outcome {
    /// What was put: objects, and what their lines must become.
    pub(super) objects: u64,
    pub(super) lines: i64,
    pub(super) rows: u64,
    pub(super) rejects: u64,
    /// What the ledger says at the end.
    pub(super) ledger: LedgerSample,
    /// Where the database is not what the fold says.
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

    /// All is done, nothing was given up, and every row, reject and count is right.
    pub(super) fn bounds(&self) -> Vec<Bound> {
        let undone = self.objects - self.ledger.done.cast_unsigned().min(self.objects);
        vec![
            Bound::none("objects that are not done", undone),
            Bound::none("objects that failed", self.ledger.failed.cast_unsigned()),
            Bound::none(
                "chunks that were given up",
                self.ledger.dead.cast_unsigned(),
            ),
            Bound::none(
                "rows of chunks that are left",
                self.ledger.chunks.cast_unsigned(),
            ),
            Bound::none("differences from the fold", self.differences.len() as u64),
        ]
    }

    pub(super) fn sentence(&self) -> String {
        format!(
            "{} objects with {} lines, {} of them bad; {} rows.",
            self.objects, self.lines, self.rejects, self.rows
        )
    }
}

/// Writes the report to a file and its Markdown to standard output; says whether all bounds hold.
pub(super) fn finish(
    report: &impl Serialize,
    markdown: &str,
    bounds: &[Bound],
    file: &Path,
) -> anyhow::Result<ExitCode> {
    let json = serde_json::to_string_pretty(report)?;
    fs::write(file, json).with_context(|| format!("cannot write {}", file.display()))?;
    let mut output = io::stdout().lock();
    writeln!(output, "{markdown}\n{}", bounds_table(bounds))?;
    Ok(if bounds.iter().all(|bound| bound.holds) {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn bounds_table(bounds: &[Bound]) -> String {
    let row = |bound: &Bound| {
        let number = |number| {
            format!("{} {}", shown(number), bound.unit)
                .trim_end()
                .to_owned()
        };
        vec![
            bound.what.clone(),
            number(bound.measured),
            number(bound.limit),
            if bound.holds { "yes" } else { "**NO**" }.to_owned(),
        ]
    };
    table(
        &["bound", "measured", "at most", "holds"],
        bounds.iter().map(row),
    )
}

/// A table of Markdown.
pub(super) fn table(head: &[&str], rows: impl Iterator<Item = Vec<String>>) -> String {
    let line = |cells: &[String]| format!("| {} |\n", cells.join(" | "));
    let head: Vec<String> = head.iter().map(|&cell| cell.to_owned()).collect();
    let rule = vec!["---".to_owned(); head.len()];
    let rows: String = rows.map(|cells| line(&cells)).collect();
    format!("{}{}{rows}", line(&head), line(&rule))
}

/// Two digits behind the point, unless the number is whole.
pub(super) fn shown(number: f64) -> String {
    if number.fract() == 0.0 {
        format!("{number:.0}")
    } else {
        format!("{number:.2}")
    }
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
    fn bound_holds_up_to_its_limit() {
        assert!(Bound::at_most("a", 2.0, 2.0, "s").holds);
        assert!(!Bound::at_most("a", 2.1, 2.0, "s").holds);
        assert!(!Bound::at_most("a", f64::NAN, 2.0, "s").holds);
        assert!(Bound::none("a", 0).holds && !Bound::none("a", 1).holds);
    }

    #[test]
    fn broken_bound_stands_out_and_fails_the_run() {
        let bounds = [Bound::at_most("growth", 70.25, 64.0, "MiB")];
        assert_eq!(
            bounds_table(&bounds),
            "| bound | measured | at most | holds |\n| --- | --- | --- | --- |\n\
             | growth | 70.25 MiB | 64 MiB | **NO** |\n"
        );
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("report.json");
        let finished = finish(&bounds, "", &bounds, &file).unwrap();
        assert_eq!(format!("{finished:?}"), format!("{:?}", ExitCode::FAILURE));
        assert!(fs::read_to_string(&file).unwrap().contains("70.25"));
    }
}
