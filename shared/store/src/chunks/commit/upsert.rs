//! Bulk upsert: a row is written unless the stored one has a higher rank, or has the same content and may stay as it
//! is.
//!
//! `updated_at` changes only with the content: a row that merely takes a new rank keeps it.

mod change;
pub(super) mod one_by_one;
mod postgres;
mod sqlite;

use chrono::{DateTime, Utc};
use jetline_core::{Key, Position};
use jetline_records::Table;
use sea_orm::{ConnectionTrait, DbBackend};

use super::{UpsertRow, Written};
use crate::Error;

/// The result of an upsert.
#[derive(Debug, Default)]
pub(super) struct Upserted {
    /// The counts of each chunk.
    pub(super) written: Vec<Written>,
    /// Whether a row was inserted or updated, including a mere change of rank.
    pub(super) any_written: bool,
    /// The positions of rows that were written without an error and are missing: a trigger suppressed them.
    pub(super) suppressed: Vec<Position>,
}

/// Writes rows, each with the index of its chunk. With `rewrite`, also those whose stored content seems to be the same.
pub(super) async fn upsert(
    tx: &impl ConnectionTrait,
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
    match tx.get_database_backend() {
        DbBackend::Sqlite => sqlite::upsert(tx, table, rows, now, rewrite, &mut upserted).await?,
        _ => postgres::upsert(tx, table, rows, now, rewrite, &mut upserted).await?,
    }
    Ok(upserted)
}

/// Runs the statement that writes a row, so that it writes none: an error is not caused by the row then.
pub(super) async fn upsert_nothing(
    tx: &impl ConnectionTrait,
    table: &Table,
    row: UpsertRow,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    match tx.get_database_backend() {
        DbBackend::Sqlite => sqlite::insert_nothing(tx, table, row, now).await,
        _ => postgres::insert_nothing(tx, table, row, now).await,
    }
}

/// The key and rank of a row that was sent to the database.
struct SentRow {
    key: Key,
    version: i64,
    position: Position,
}

impl UpsertRow {
    /// Its version and position.
    pub(super) fn rank(&self) -> (i64, Position) {
        (self.row.version, self.position)
    }
}

/// The columns of a dataset's table: those of the record, then Jetline's.
pub(super) fn columns(table: &Table) -> Vec<&'static str> {
    let own = table.columns.iter().map(|column| column.name);
    own.chain(["fingerprint", "position", "updated_at"]).collect()
}

/// A row's rank as an SQL expression; `of` is a table or an alias.
fn rank(table: &Table, of: &str) -> String {
    match table.version {
        Some(version) => format!("({of}.\"{version}\", {of}.\"position\")"),
        None => format!("{of}.\"position\""),
    }
}

/// The `ON CONFLICT` clause: updates a stored row of a lower rank.
fn on_conflict(table: &Table, rewrite: bool) -> String {
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
