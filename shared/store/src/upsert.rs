//! Bulk upsert: a row is written unless the stored one has a higher rank, or has the same content and may stay as it
//! is.
//!
//! `jetline_changed_at` changes only with the content: a row that merely takes a new rank keeps it.

pub(crate) mod change;

use std::ops::AddAssign;

use change::Change;
use jetline_core::Position;
use jetline_datasets::{Dataset, Row};

/// The outcomes of the rows of one chunk in an upsert, counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Written {
    pub(crate) inserted: u64,
    pub(crate) updated: u64,
    pub(crate) deleted: u64,
    pub(crate) unchanged: u64,
    pub(crate) superseded: u64,
}

impl Written {
    pub(crate) fn rows(&self) -> u64 {
        self.inserted + self.updated + self.deleted + self.unchanged + self.superseded
    }

    /// Counts a row. `is_delete` says whether its record deletes.
    pub(crate) fn count(&mut self, change: Change, is_delete: bool) {
        let count = match change {
            Change::Insert | Change::Update if is_delete => &mut self.deleted,
            Change::Insert => &mut self.inserted,
            Change::Update => &mut self.updated,
            Change::Raise | Change::Nothing => &mut self.unchanged,
            Change::Superseded => &mut self.superseded,
        };
        *count += 1;
    }
}

impl AddAssign for Written {
    fn add_assign(&mut self, other: Self) {
        self.inserted += other.inserted;
        self.updated += other.updated;
        self.deleted += other.deleted;
        self.unchanged += other.unchanged;
        self.superseded += other.superseded;
    }
}

/// The result of an upsert.
#[derive(Debug, Default)]
pub(crate) struct Upserted {
    /// The counts of each chunk.
    pub(crate) written: Vec<Written>,
    /// Whether a row was inserted or updated, including a mere change of rank.
    pub(crate) any_written: bool,
    /// The positions of rows that were written without an error and are missing: a trigger suppressed them.
    pub(crate) suppressed: Vec<Position>,
}

/// A row to write.
#[derive(Clone, Debug)]
pub struct UpsertRow {
    /// The row.
    pub row: Row,
    /// The position of its line.
    pub position: Position,
    /// Do not touch a row with the same content; otherwise such a row takes the new rank.
    pub if_changed: bool,
}

impl UpsertRow {
    /// Its version and position.
    pub(crate) fn rank(&self) -> (i64, Position) {
        (self.row.version, self.position)
    }
}

/// The columns of a dataset's table: those of the record, then Jetline's.
pub(crate) fn columns(dataset: &Dataset) -> Vec<&str> {
    let own = dataset.stored().map(|column| &*column.name);
    own.chain(["jetline_fingerprint", "jetline_position", "jetline_changed_at"]).collect()
}

/// A row's rank as an SQL expression; `of` is a table or an alias.
pub(crate) fn rank(dataset: &Dataset, of: &str) -> String {
    match dataset.version() {
        Some(version) => format!("({of}.\"{}\", {of}.\"jetline_position\")", version.name),
        None => format!("{of}.\"jetline_position\""),
    }
}

/// The `ON CONFLICT` clause: updates a stored row that has no higher rank. Rows of the same line that need no write are not
/// sent.
pub(crate) fn on_conflict(dataset: &Dataset) -> String {
    let (name, key) = (&dataset.name, &dataset.key().name);
    let mut assignments: Vec<String> = columns(dataset)
        .into_iter()
        .filter(|column| column != key && *column != "jetline_changed_at")
        .map(|column| format!("\"{column}\" = excluded.\"{column}\""))
        .collect();
    assignments.extend(dataset.absent.iter().map(|column| format!("\"{column}\" = NULL")));
    assignments.push(format!(
        "\"jetline_changed_at\" = CASE WHEN \"{name}\".\"jetline_fingerprint\" = excluded.\"jetline_fingerprint\"
             THEN \"{name}\".\"jetline_changed_at\" ELSE excluded.\"jetline_changed_at\" END"
    ));
    format!(
        "ON CONFLICT (\"{key}\") DO UPDATE SET {} WHERE {} <= {}",
        assignments.join(", "),
        rank(dataset, &format!("\"{name}\"")),
        rank(dataset, "excluded")
    )
}
