//! The table of objects: a heading, a row for each with its rejects and its error, and the totals.

use std::{
    collections::BTreeSet,
    fmt::{Display, Formatter, Result, from_fn},
};

use jetline_runtime::{human, terminal};
use jetline_store::{
    ObjectState as State,
    catalog::{objects::ObjectStatus, rejects::RejectSummary},
};

use crate::terminal::{Escaped, escaped_file_name, shortened};

/// The names of the counts. That of deletes is shown only where there are some.
const COUNTS: [&str; 7] =
    ["lines", "inserted", "updated", "deleted", "unchanged", "superseded", "rejected"];

const DELETED: usize = 3;

/// The least width of names.
const MIN_NAME_CHARS: usize = 8;

/// The most characters of an error that are shown.
pub(super) const MAX_ERROR_CHARS: usize = 600;

/// The widths of the columns, and the sums of the counts, of the objects that were added.
pub(super) struct Table {
    id: usize,
    name: usize,
    state: usize,
    /// Shown where there are several.
    datasets: BTreeSet<String>,
    sums: [i64; COUNTS.len()],
}

impl Default for Table {
    fn default() -> Self {
        let datasets = BTreeSet::new();
        Self {
            id: "id".len(),
            name: "object".len(),
            state: "state".len(),
            datasets,
            sums: [0; COUNTS.len()],
        }
    }
}

impl Table {
    /// Makes room for objects, and adds their counts.
    pub(super) fn add(&mut self, objects: &[ObjectStatus]) {
        for object in objects {
            self.id = self.id.max(object.id.to_string().len());
            if !self.datasets.contains(&object.dataset) {
                self.datasets.insert(object.dataset.clone());
            }
            self.name = self.name.max(escaped_file_name(&object.uri).chars().count());
            self.state = self.state.max(state(object).len());
            for (sum, count) in self.sums.iter_mut().zip(counts(object)) {
                *sum += count;
            }
        }
    }

    pub(super) fn heading(&self) -> impl Display {
        from_fn(|f| {
            write!(
                f,
                "{:>id$}  {:name$}{}  {:state$}",
                "id",
                "object",
                self.of_dataset("dataset"),
                "state",
                id = self.id,
                name = self.name_width(),
                state = self.state
            )?;
            self.write_columns(f, COUNTS)
        })
    }

    /// An object, and below it what was rejected of it and its error.
    pub(super) fn row(
        &self,
        object: &ObjectStatus,
        rejects: Option<&RejectSummary>,
    ) -> impl Display {
        from_fn(move |f| {
            let width = self.name_width();
            let name = human::shortened_in_the_middle(&escaped_file_name(&object.uri), width);
            let mut state = format!("{:width$}", state(object), width = self.state);
            if object.state == State::Failed {
                state = terminal::red(&state);
            }
            write!(
                f,
                "{:>id$}  {name:width$}{}  {state}",
                object.id,
                self.of_dataset(&object.dataset),
                id = self.id,
            )?;
            self.write_columns(f, counts(object).map(human::count))?;
            if let Some(rejects) = rejects {
                write_rejects(f, rejects)?;
            }
            if let Some(error) = &object.error {
                write_error(f, object, error)?;
            }
            Ok(())
        })
    }

    pub(super) fn totals(&self) -> impl Display {
        from_fn(|f| {
            let width = self.id + 2 + self.name_width();
            let state = self.state;
            write!(f, "{:width$}{}  {:state$}", "in all", self.of_dataset(""), "")?;
            self.write_columns(f, self.sums.map(human::count))
        })
    }

    /// The width of names: on a terminal, what the other columns leave.
    fn name_width(&self) -> usize {
        let Some(width) = terminal::width() else { return self.name };
        let counts = (0..COUNTS.len()).filter(|at| self.is_shown(*at));
        let counts: usize = counts.map(|at| 2 + self.column_width(at)).sum();
        let others = self.id + 2 + self.of_dataset("").len() + 2 + self.state + counts;
        self.name.min(width.saturating_sub(others).max(MIN_NAME_CHARS))
    }

    fn column_width(&self, at: usize) -> usize {
        COUNTS[at].len().max(human::count(self.sums[at]).len())
    }

    fn is_shown(&self, at: usize) -> bool {
        at != DELETED || self.sums[DELETED] > 0
    }

    /// The column of the dataset, if there is one.
    fn of_dataset(&self, text: &str) -> String {
        let names = self.datasets.iter().map(|name| name.chars().count());
        match names.max() {
            Some(width) if self.datasets.len() > 1 => {
                format!("  {text:width$}", width = width.max("dataset".len()))
            }
            _ => String::new(),
        }
    }

    fn write_columns(
        &self,
        f: &mut Formatter<'_>,
        columns: [impl Display; COUNTS.len()],
    ) -> Result {
        for (at, column) in columns.into_iter().enumerate() {
            if self.is_shown(at) {
                write!(f, "  {column:>width$}", width = self.column_width(at))?;
            }
        }
        Ok(())
    }
}

fn state(object: &ObjectStatus) -> String {
    format!("{:?}", object.state).to_lowercase()
}

fn counts(object: &ObjectStatus) -> [i64; COUNTS.len()] {
    [
        object.lines(),
        object.inserted,
        object.updated,
        object.deleted,
        object.unchanged,
        object.superseded,
        object.rejected,
    ]
}

fn write_rejects(f: &mut Formatter<'_>, rejects: &RejectSummary) -> Result {
    let reasons: Vec<String> =
        rejects.reasons.iter().map(|(reason, lines)| format!("{lines} {reason}")).collect();
    write!(
        f,
        "\n  rejected: {}; first: line {}, {}: {}",
        Escaped(&reasons.join(", ")),
        rejects.line,
        Escaped(&rejects.reason),
        Escaped(&rejects.message)
    )
}

fn write_error(f: &mut Formatter<'_>, object: &ObjectStatus, error: &str) -> Result {
    let state = match object.state {
        State::Failed if object.dismissed => "failed and is dismissed",
        State::Failed => "failed",
        State::Done => "is done",
        _ => "is open",
    };
    let error = shortened(error, MAX_ERROR_CHARS);
    write!(f, "\n  object {} {state}: {}", object.id, Escaped(&error))
}
