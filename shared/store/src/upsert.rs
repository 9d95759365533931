//! Bulk upsert: a row is written unless the stored one has a higher rank, or has the same content and may stay as it
//! is.
//!
//! `jetline_changed_at` changes only with the content: a row that merely takes a new rank keeps it.

pub(crate) mod change;

use std::ops::AddAssign;

use jetline_core::{Change, Fingerprint, Key, Position, Rank};
use jetline_datasets::{ChangeKind, Dataset, Row, Value};

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

/// A written row whose content changed.
#[derive(Clone, Debug)]
pub(crate) struct ChangedRow {
    pub(crate) key: Key,
    pub(crate) rank: Rank,
    pub(crate) fingerprint: Fingerprint,
    pub(crate) kind: ChangeKind,
    /// Whether the table had no row.
    pub(crate) is_new: bool,
    /// The value of the column with the delay, for each destination.
    pub(crate) delays: Vec<Value>,
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
    /// The rows whose content changed; none where nothing is delivered.
    pub(crate) changed: Vec<ChangedRow>,
}

impl Upserted {
    /// Of rows of this many chunks.
    pub(crate) fn of_chunks(chunks: usize) -> Self {
        Self { written: vec![Written::default(); chunks], ..Self::default() }
    }

    /// Counts a row of a chunk.
    pub(crate) fn count(&mut self, dataset: &Dataset, chunk: usize, change: Change, row: SentRow) {
        self.written[chunk].count(change, row.is_delete);
        let is_new = matches!(change, Change::Insert);
        if dataset.destinations.is_empty() || !(is_new || matches!(change, Change::Update)) {
            return;
        }
        self.changed.push(ChangedRow {
            key: row.key,
            rank: Rank { version: row.version, position: row.position },
            fingerprint: row.fingerprint,
            kind: match change {
                _ if row.is_delete => ChangeKind::Deleted,
                Change::Insert => ChangeKind::Inserted,
                _ => ChangeKind::Updated,
            },
            is_new,
            delays: row.delays,
        });
    }
}

/// What is left of a row when its values were sent to the database.
#[derive(Clone, Debug)]
pub(crate) struct SentRow {
    pub(crate) key: Key,
    pub(crate) version: i64,
    pub(crate) position: Position,
    pub(crate) is_delete: bool,
    fingerprint: Fingerprint,
    /// The value of the column with the delay, for each destination.
    delays: Vec<Value>,
}

impl SentRow {
    pub(crate) fn of(dataset: &Dataset, UpsertRow { row, position, .. }: &UpsertRow) -> Self {
        let has_delays = dataset.destinations.iter().any(|one| one.delay.is_some());
        let delays = dataset.destinations.iter().filter(|_| has_delays).map(|destination| {
            let delay = destination.delay.as_ref();
            let at = delay.and_then(|delay| dataset.place(&delay.column));
            at.and_then(|at| row.values.get(at)).cloned().unwrap_or(Value::Null)
        });
        Self {
            key: row.key.clone(),
            version: row.version,
            position: *position,
            is_delete: dataset.is_delete(row),
            fingerprint: row.fingerprint,
            delays: delays.collect(),
        }
    }
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
    /// How its id was claimed.
    pub claim: KeyClaim,
}

/// What is known of earlier claims of a row's id. It only decides how a row that the table does not have is written: claims
/// may be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyClaim {
    /// No line of it was claimed before: a transaction with another line of it comes later, if there is one.
    First,
    /// Another line of it was claimed before: its transaction may not have committed.
    AfterAnother,
    /// A line of it was claimed before, perhaps this one, in an attempt that failed.
    Unknown,
    /// It is not claimed, nor by anybody else.
    None,
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
    let (table, key) = (format!("{:?}", dataset.name), &dataset.key().name);
    let update = update(&dataset.name, key, &columns(dataset), &dataset.absent);
    let (stored, new) = (rank(dataset, &table), rank(dataset, "excluded"));
    format!("ON CONFLICT ({key:?}) {update} WHERE {stored} <= {new}")
}

/// The `DO UPDATE` of an upsert into a table. `jetline_changed_at` stays where the content does; columns that are `absent` in
/// the new rows become null.
pub(crate) fn update(table: &str, key: &str, columns: &[&str], absent: &[String]) -> String {
    let columns = columns.iter().filter(|column| **column != key);
    let assignments = columns.map(|column| match *column {
        "jetline_changed_at" => format!(
            "{column:?} = CASE WHEN {table:?}.\"jetline_fingerprint\" = excluded.\"jetline_fingerprint\"
             THEN {table:?}.{column:?} ELSE excluded.{column:?} END"
        ),
        _ => format!("{column:?} = excluded.{column:?}"),
    });
    let absent = absent.iter().map(|column| format!("{column:?} = NULL"));
    let assignments: Vec<String> = assignments.chain(absent).collect();
    format!("DO UPDATE SET {}", assignments.join(", "))
}
