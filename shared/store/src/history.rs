//! The history of a dataset: a table with a row for each version of each key, those of superseded records included.
//!
//! Of several records with one key and one version, the last one in the order of objects and lines stays.

use std::{collections::HashSet, mem};

use chrono::{DateTime, Utc};
use jetline_core::{Key, Position};
use jetline_datasets::{Column, Dataset};
use sea_orm::ConnectionTrait;

use crate::{
    ChunkRows, Error, RefusedRow,
    declarations::table,
    dialect,
    statement::execute,
    transaction::Transaction,
    upsert::{UpsertRow, columns, update},
};

/// The valid records of chunks that are being committed.
pub(crate) struct Versions {
    rows: Vec<UpsertRow>,
    /// Whether the row of a version is written again where its content is the same, so that it has the position of the last
    /// line: an earlier line, which is committed later, would replace it otherwise.
    raise: bool,
}

impl Versions {
    /// Takes the records out of chunks; none where the dataset has no history.
    pub(crate) fn take(chunks: &mut [ChunkRows], raise: bool) -> Self {
        let rows = chunks.iter_mut().flat_map(|chunk| mem::take(&mut chunk.history));
        let rows: Vec<UpsertRow> = rows.collect();
        Self { raise: raise || !rows.iter().all(|row| row.if_changed), rows }
    }

    /// Writes them, except for refused ones, in the transaction of their commit.
    pub(crate) async fn write(
        self,
        tx: &Transaction,
        dataset: &Dataset,
        refused: &[RefusedRow],
        now: DateTime<Utc>,
    ) -> Result<(), Error> {
        let Self { mut rows, raise } = self;
        let refused: HashSet<Position> = refused.iter().map(|row| row.position).collect();
        rows.retain(|row| !refused.contains(&row.position));
        // All writers lock rows in the same order, so that they cannot deadlock.
        rows.sort_unstable_by(|a, b| id(a).cmp(&id(b)).then(b.position.cmp(&a.position)));
        rows.dedup_by(|earlier, last| id(earlier) == id(last));
        if rows.is_empty() {
            return Ok(());
        }
        let conflict = conflict(dataset, &columns(dataset), &dataset.absent, raise);
        dialect::of(tx).insert_history(tx, dataset, rows, now, &conflict).await
    }
}

fn id(row: &UpsertRow) -> (&Key, i64) {
    (&row.row.key, row.row.version)
}

/// The `ON CONFLICT` clause: updates the row of an earlier line or of the same one; with `raise` also one that has the same
/// content.
fn conflict(dataset: &Dataset, columns: &[&str], absent: &[String], raise: bool) -> String {
    let (table, key) = (dataset.history_table(), &dataset.key().name);
    let update = update(&table, key, columns, absent);
    let version = dataset.version().map_or(key, |version| &version.name);
    let differs = if raise {
        String::new()
    } else {
        format!(" AND {table:?}.jetline_fingerprint <> excluded.jetline_fingerprint")
    };
    format!(
        "ON CONFLICT ({key:?}, {version:?}) {update}
             WHERE {table:?}.jetline_position <= excluded.jetline_position{differs}"
    )
}

/// Makes the table of the history fit a declaration; `before` has the earlier ones of the dataset. Returns what was done.
///
/// Where versions are kept from now on, it gets the rows that the dataset has.
pub(crate) async fn fit(
    tx: &impl ConnectionTrait,
    dataset: &Dataset,
    before: &[Dataset],
) -> Result<Vec<String>, Error> {
    if !dataset.has_history {
        return Ok(Vec::new());
    }
    let name = dataset.history_table();
    let is_known = before.iter().any(|earlier| earlier.has_history);
    let mut all: Vec<&Column> = Vec::new();
    for column in before.iter().chain([dataset]).flat_map(Dataset::stored) {
        if !all.iter().any(|known| known.name == column.name) {
            all.push(column);
        }
    }
    let (_, mut done) = table::create_or_extend(tx, dataset, &name, &all, is_known).await?;
    if !before.is_empty() && !before.last().is_some_and(|last| last.has_history) {
        let own = ["jetline_fingerprint", "jetline_position", "jetline_changed_at"];
        let columns: Vec<&str> = all.iter().map(|column| &*column.name).chain(own).collect();
        let list: Vec<String> = columns.iter().map(|column| format!("{column:?}")).collect();
        let sql = format!(
            "INSERT INTO {name:?} ({list}) SELECT {list} FROM {:?} WHERE true {}",
            dataset.name,
            conflict(dataset, &columns, &[], true),
            list = list.join(", "),
        );
        let rows = execute(tx, "copy rows to the history", &sql, []).await?;
        done.push(format!("table {name}: {rows} rows of {} copied", dataset.name));
    }
    Ok(done)
}

/// Removes the history of a dataset.
pub(crate) async fn drop(tx: &impl ConnectionTrait, dataset: &Dataset) -> Result<(), Error> {
    let sql = format!("DROP TABLE IF EXISTS {:?}", dataset.history_table());
    execute(tx, "drop a table", &sql, []).await.map(|_| ())
}
