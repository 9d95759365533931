//! Bulk upsert: a row is written unless the stored one has a higher rank, or has the same content and may stay as it
//! is.
//!
//! `updated_at` changes only with the content: a row that merely takes a new rank keeps it.

use chrono::{DateTime, Utc};
use jetline_core::Position;
use jetline_records::Table;
use sea_orm::DatabaseTransaction;

use super::{UpsertRow, Written};
use crate::{Error, dialect};

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

/// Writes rows, each with the index of its chunk. With `rewrite`, also those whose stored content seems to be the same.
pub(super) async fn upsert(
    tx: &DatabaseTransaction,
    table: &Table,
    mut rows: Vec<(usize, UpsertRow)>,
    chunks: usize,
    now: DateTime<Utc>,
    rewrite: bool,
) -> Result<Upserted, Error> {
    let mut upserted =
        Upserted { written: vec![Written::default(); chunks], ..Upserted::default() };
    if rows.is_empty() {
        return Ok(upserted);
    }
    // All writers lock rows in the same order, so that they cannot deadlock.
    rows.sort_unstable_by(|(_, a), (_, b)| a.row.key.cmp(&b.row.key));
    dialect::of(tx).upsert(tx, table, rows, now, rewrite, &mut upserted).await?;
    Ok(upserted)
}

impl UpsertRow {
    /// Its version and position.
    pub(super) fn rank(&self) -> (i64, Position) {
        (self.row.version, self.position)
    }
}

/// The columns of a dataset's table: those of the record, then Jetline's.
pub(crate) fn columns(table: &Table) -> Vec<&'static str> {
    let own = table.columns.iter().map(|column| column.name);
    own.chain(["fingerprint", "position", "updated_at"]).collect()
}

/// A row's rank as an SQL expression; `of` is a table or an alias.
pub(crate) fn rank(table: &Table, of: &str) -> String {
    match table.version {
        Some(version) => format!("({of}.\"{version}\", {of}.\"position\")"),
        None => format!("{of}.\"position\""),
    }
}

/// The `ON CONFLICT` clause: updates a stored row of a lower rank.
pub(crate) fn on_conflict(table: &Table, rewrite: bool) -> String {
    let name = table.name;
    let mut assignments: Vec<String> = columns(table)
        .into_iter()
        .filter(|column| *column != table.id && *column != "updated_at")
        .map(|column| format!("\"{column}\" = excluded.\"{column}\""))
        .collect();
    assignments.push(format!(
        "\"updated_at\" = CASE WHEN \"{name}\".\"fingerprint\" = excluded.\"fingerprint\"
             THEN \"{name}\".\"updated_at\" ELSE excluded.\"updated_at\" END"
    ));
    format!(
        "ON CONFLICT (\"{}\") DO UPDATE SET {} WHERE {} {} {}",
        table.id,
        assignments.join(", "),
        rank(table, &format!("\"{name}\"")),
        if rewrite { "<=" } else { "<" },
        rank(table, "excluded")
    )
}
