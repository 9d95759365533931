//! Bulk upsert: a row is written unless it has a higher rank already, or says the same and may be left alone.
//!
//! `updated_at` changes with the content only: a row that merely takes a new rank keeps it.

mod change;
mod postgres;
mod sqlite;

use chrono::{DateTime, Utc};
use jetline_records::{Key, Position, Table};
use sea_orm::{ConnectionTrait, DbBackend};

use super::{Judged, Written};
use crate::Error;

/// What an upsert did.
#[derive(Debug, Default)]
pub(super) struct Upserted {
    /// For each chunk.
    pub(super) written: Vec<Written>,
    /// Whether a row was inserted or changed, be it only its rank.
    pub(super) any_written: bool,
    /// The lines of rows that were written without an error and are not there: a trigger left them out.
    pub(super) suppressed: Vec<Position>,
}

/// Writes the rows of each chunk. `rewrite` also writes what its row seems to say already.
pub(super) async fn upsert(
    tx: &impl ConnectionTrait,
    table: &Table,
    chunks: Vec<Vec<Judged>>,
    now: DateTime<Utc>,
    rewrite: bool,
) -> Result<Upserted, Error> {
    let mut upserted = Upserted {
        written: vec![Written::default(); chunks.len()],
        ..Upserted::default()
    };
    let mut rows: Vec<(usize, Judged)> = Vec::with_capacity(chunks.iter().map(Vec::len).sum());
    for (chunk, judged) in chunks.into_iter().enumerate() {
        rows.extend(judged.into_iter().map(|row| (chunk, row)));
    }
    if rows.is_empty() {
        return Ok(upserted);
    }
    // All writers lock rows in one order, so that they never wait for each other in a circle.
    rows.sort_unstable_by(|(_, a), (_, b)| a.row.key.cmp(&b.row.key));
    match tx.get_database_backend() {
        DbBackend::Sqlite => sqlite::upsert(tx, table, rows, now, rewrite, &mut upserted).await?,
        _ => postgres::upsert(tx, table, rows, now, rewrite, &mut upserted).await?,
    }
    Ok(upserted)
}

/// Does everything that writing a row takes, but for the row: what fails then is not the row's fault.
pub(super) async fn upsert_nothing(
    tx: &impl ConnectionTrait,
    table: &Table,
    row: Judged,
    now: DateTime<Utc>,
) -> Result<(), Error> {
    match tx.get_database_backend() {
        DbBackend::Sqlite => sqlite::insert_nothing(tx, table, row, now).await,
        _ => postgres::insert_nothing(tx, table, row, now).await,
    }
}

/// The rank of a record that was written.
struct Sent {
    key: Key,
    version: i64,
    position: Position,
}

/// The columns of a dataset's table: the record's own, then Jetline's.
pub(super) fn columns(table: &Table) -> Vec<&'static str> {
    let own = table.columns.iter().map(|column| column.name);
    own.chain(["fingerprint", "position", "updated_at"])
        .collect()
}

/// A row's rank as an SQL expression; `of` is a table or an alias.
fn rank(table: &Table, of: &str) -> String {
    match table.version {
        Some(version) => format!("({of}.\"{version}\", {of}.\"position\")"),
        None => format!("{of}.\"position\""),
    }
}

/// What to do with a row that is there: `ON CONFLICT …`.
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
