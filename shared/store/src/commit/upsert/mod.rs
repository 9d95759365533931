//! Bulk upsert: a row is written unless it has a higher rank already, or says the same and may be left alone.
//!
//! `updated_at` changes with the content only: a row that merely takes a new rank keeps it.

mod change;
mod postgres;
mod sqlite;

use chrono::{DateTime, Utc};
use jetline_records::Table;
use sea_orm::{ConnectionTrait, DbBackend};

use super::{Judged, Written};
use crate::Error;

/// Writes the rows of each chunk, and says what it did for each chunk.
pub(super) async fn upsert(
    tx: &impl ConnectionTrait,
    table: &Table,
    chunks: Vec<Vec<Judged>>,
    now: DateTime<Utc>,
) -> Result<Vec<Written>, Error> {
    let mut written = vec![Written::default(); chunks.len()];
    let mut rows: Vec<(usize, Judged)> = Vec::with_capacity(chunks.iter().map(Vec::len).sum());
    for (chunk, judged) in chunks.into_iter().enumerate() {
        rows.extend(judged.into_iter().map(|row| (chunk, row)));
    }
    if rows.is_empty() {
        return Ok(written);
    }
    // All writers lock rows in one order, so that they never wait for each other in a circle.
    rows.sort_unstable_by(|(_, a), (_, b)| a.row.key.cmp(&b.row.key));
    match tx.get_database_backend() {
        DbBackend::Sqlite => sqlite::upsert(tx, table, rows, now, &mut written).await?,
        _ => postgres::upsert(tx, table, rows, now, &mut written).await?,
    }
    Ok(written)
}

/// The columns of a dataset's table: the record's own, then Jetline's.
fn columns(table: &Table) -> Vec<&'static str> {
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
fn on_conflict(table: &Table) -> String {
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
        "ON CONFLICT (\"{}\") DO UPDATE SET {} WHERE {} < {}",
        table.id,
        assignments.join(", "),
        rank(table, &format!("\"{name}\"")),
        rank(table, "excluded")
    )
}
